"""A checkpoint that cannot be read, or does not fit, is refused in one sentence."""

import pytest
import torch

from inr.errors import InputError
from inr.saved.runs import CARRIED, checkpoint_of, load_weights, read_checkpoint

LINEAR = torch.nn.Linear(2, 3)
WHOLE = dict.fromkeys(CARRIED, "x") | {"state_dict": LINEAR.state_dict()}


@pytest.mark.parametrize(
    ("content", "length", "message"),
    [
        (WHOLE, 500, "must be whole and hold tensors and plain options, .*last.ckpt does not; use another one"),
        (LINEAR, None, "tensors and plain options, .*last.ckpt does not"),
        ({"weights": torch.zeros(3)}, None, "of this project carries config, .*last.ckpt has no config: .* a run wrote"),
        (torch.zeros(3), None, "last.ckpt has no config"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(content, length, message, tmp_path):
    with pytest.raises(
        InputError, match=f"a folder with checkpoints/last.ckpt, or a .ckpt file; got {tmp_path}, which is neither"
    ):
        checkpoint_of(tmp_path)
    file = tmp_path / "checkpoints" / "last.ckpt"
    file.parent.mkdir()
    torch.save(WHOLE, file)
    assert read_checkpoint(tmp_path).keys() == set(CARRIED)
    torch.save(content, file)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [({"weight": torch.zeros(5, 5), "bias": torch.zeros(3)}, "size mismatch"), ({"weight": torch.zeros(3, 2)}, "Missing key")],
)
def test_weights_of_another_module_are_refused(weights, reason):
    with pytest.raises(InputError, match=f"must fit its model, run.ckpt: {reason}.* Use another one"):
        load_weights(LINEAR, weights, "run.ckpt")

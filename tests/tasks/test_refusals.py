"""Options of trainer, callbacks and tasks that are refused by the constructors themselves."""

from functools import partial

import pytest
import torch

from inr.errors import InputError
from inr.measurements.pointwise import Points
from inr.networks.activations import Sine
from inr.networks.mlp import MLP
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision
from tasks.base import Training
from tasks.checkpoints import Checkpoints
from tasks.results import Results
from tasks.sdf import SDFTask
from tasks.trainer import Trainer

TRAINING = Training(MLP(3, 1, Sine()), Supervision({"value": SquaredError()}), torch.optim.Adam)
shape = partial(SDFTask, TRAINING, {"data": Points()})


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Trainer, {"precision": "half"}, "one of 32-true, bf16-mixed, 16-mixed, got half: .* float32"),
        (Trainer, {"precision": "bf16-true"}, "got bf16-true: coordinates need all of float32"),
        (Trainer, {"val_check_interval": 0}, "trainer.val_check_interval must be positive, got 0; leave it out"),
        (Trainer, {"gradient_clip_val": -1}, "trainer.gradient_clip_val must be positive, got -1; leave it out"),
        (Trainer, {"accelerator": "gpuu"}, "must fit .* got trainer.accelerator=gpuu: .*use trainer=cpu"),
        (Trainer, {"accelerator": "cpu", "devices": 0}, "must fit .*trainer.devices=0: .*Ask for what there is"),
        (Checkpoints, {"folder": "run", "every": 0}, "callbacks.checkpoints.every .* at least 1, got 0"),
        (Results, {"folder": "run", "scale": 65}, "export.scale .* above 0 and at most 64, got 65"),
        (shape, {"resolution": 4}, "task.resolution .* at least 8, got 4"),
        (shape, {"up": "w"}, "task.up must be y or z, got w"),
    ],
)
def test_impossible_options_are_refused(make, options, message):
    with pytest.raises(InputError, match=message):
        make(**options)

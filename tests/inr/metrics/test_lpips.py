import pytest
import torch
from torchmetrics.functional.image import lpips as reference

from inr.errors import InputError
from inr.metrics.lpips import LPIPS, alexnet, load_lpips


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(80, 72, 3), torch.rand(80, 72, 3)


def test_equals_the_implementation_of_torchmetrics_on_the_same_backbone(images, monkeypatch):
    torch.manual_seed(1)
    backbone = alexnet()
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: backbone)
    theirs = reference._LPIPS(net="alex", pretrained=True)
    expected = theirs(*(2 * image.permute(2, 0, 1)[None] - 1 for image in images))
    assert LPIPS(backbone)(*images) == pytest.approx(float(expected), rel=1e-4)


def test_is_a_distance(images):
    distance = LPIPS(alexnet())
    assert distance(images[0], images[0]) == 0
    assert distance(*images) == pytest.approx(distance(*reversed(images)), rel=1e-5)
    assert str(distance(images[0][:40], images[1][:40])) == "nan"


def test_weights_come_from_a_file_or_the_cache_or_not_at_all(tmp_path, images, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert load_lpips(None) is None
    backbone = alexnet()
    file = tmp_path / "weights.pth"
    torch.save({f"features.{name}": value for name, value in backbone.state_dict().items()}, file)
    assert load_lpips(str(file))(*images) == LPIPS(backbone)(*images)
    with pytest.raises(InputError, match="must be a file"):
        load_lpips(str(tmp_path / "none.pth"))
    torch.save({"weight": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="AlexNet"):
        load_lpips(str(file))


def test_a_failed_download_is_one_warning(tmp_path, monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.warns(UserWarning, match="LPIPS is left out"):
        assert load_lpips("download") is None

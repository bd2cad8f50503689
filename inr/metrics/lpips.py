"""Learned perceptual distance of two images, on AlexNet's features."""

# torchmetrics' LPIPS needs torchvision for AlexNet, and fetches its weights as it is constructed; only its weights of layers
# are used. The computation is checked against its own.

import itertools
import warnings
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError

BACKBONE = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
MISSING = "lpips is left out: AlexNet's weights are not in torch's cache; task.lpips=download fetches them (233 MB, once)."
SHIFT = (-0.030, -0.088, -0.188)  # mean of ImageNet's red, green and blue, of values in -1..1
SCALE = (0.458, 0.448, 0.450)  # their standard deviations
TAPS = (1, 4, 7, 9, 11)  # the ReLUs of the backbone, whose outputs are compared
SMALLEST = 64  # pixels on a side; below, the last layers are a pixel or nothing


def alexnet() -> nn.Sequential:
    """Return the convolutions of AlexNet, numbered as in the published weights.

    Source: Krizhevsky, One weird trick for parallelizing convolutional neural networks (2014).
    """
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


class LPIPS:
    """Learned perceptual image patch similarity (version 0.1, AlexNet): 0 for equal images, larger is worse.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (CVPR 2018); the weights
            of the five layers are those that torchmetrics carries.
    """

    def __init__(self, backbone: nn.Sequential) -> None:
        self.backbone = backbone.eval()
        layers = files("torchmetrics") / "functional" / "image" / "lpips_models" / "alex.pth"
        weights = torch.load(str(layers), map_location="cpu", weights_only=True)
        self.layers = [weights[f"lin{index}.model.1.weight"].flatten() for index in range(len(TAPS))]

    @torch.no_grad()
    def features(self, image: Float[Tensor, "rows columns 3"]) -> list[Tensor]:
        """Return features (channels, rows, columns) of five layers, of unit length at each place, of an image in 0..1."""
        x = ((2 * image - 1 - image.new_tensor(SHIFT)) / image.new_tensor(SCALE)).permute(2, 0, 1)[None]
        outputs = itertools.accumulate(self.backbone, lambda x, module: module(x), initial=x)
        taps = [x[0] for index, x in enumerate(outputs, -1) if index in TAPS]
        return [tap / (tap.square().sum(0) + 1e-8).sqrt() for tap in taps]  # of the published code; features may be zero

    def __call__(self, prediction: Float[Tensor, "rows columns 3"], target: Float[Tensor, "rows columns 3"]) -> float:
        """Return the distance of two images in 0..1; nan below 64 pixels."""
        if min(target.shape[:2]) < SMALLEST:
            return float("nan")
        pairs = zip(self.features(prediction), self.features(target), self.layers, strict=True)
        return sum(float(torch.einsum("chw,c->hw", (one - other).square(), layer).mean()) for one, other, layer in pairs)


def load_lpips(weights: str | None) -> LPIPS | None:
    """Load LPIPS with AlexNet's weights: a file, `download` (once, into torch's cache), or None for those in the cache.

    Without weights the result is None, and `MISSING` says what to do.
    Raises: InputError for a file that is not there or holds something else. A download that fails gives one warning.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE.rpartition("/")[-1]
    if weights == "download" and not cached.is_file():
        try:
            torch.hub.load_state_dict_from_url(BACKBONE, progress=False, check_hash=True, weights_only=True)
        except OSError as error:
            warnings.warn(f"LPIPS is left out: its backbone could not be had from {BACKBONE} ({error}).", stacklevel=2)
            return None
    file = cached if weights in (None, "download") else Path(weights).expanduser()
    if not file.is_file():
        if weights is None:
            return None
        raise InputError(f"task.lpips must be a file of AlexNet's weights, download, or null; got {weights}.")
    backbone = alexnet()
    state = torch.load(file, map_location="cpu", weights_only=True)
    convolutions = {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    try:
        backbone.load_state_dict(convolutions)
    except RuntimeError as error:
        raise InputError(f"task.lpips must hold torchvision's AlexNet weights (features.*), {file} does not.") from error
    return LPIPS(backbone)

"""Coders: from a signal to its code, looked up or computed from what was observed of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import EllipsisType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError
from inr.field import Signals
from inr.networks.linear import at_least_float32

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS: list[Callable[[Tensor, int], Tensor]] = [F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d]
CELLS = 4  # along each axis of the last grid, which the linear layer reads
GROUPS = 8  # of channels that are normalised together
DOUBLINGS = 3  # of the width, after which it stays


def random_codes(signals: int, experts: int, channels: int) -> Tensor:
    """Return codes whose gates are ~ N(0, 1 / experts), so that a mixture of heads is as large as one, and biases zero."""
    return torch.cat([torch.randn(signals, experts) / math.sqrt(experts), torch.zeros(signals, channels)], -1)


class Coder(nn.Module, ABC):
    """A function from signals to their codes; subclasses define `forward`.

    encodes: codes are computed from observations, so that new signals have some at once.
    reads: kind of observations that it computes them from: grids, points, or nothing.
    sees: the same in words, for tables.
    Shapes: signals -> codes (signals, experts + channels), a gate per expert and a bias per channel.
    """

    encodes = True
    reads = "nothing"
    sees = "nothing"
    codes: nn.Parameter
    names: list[str]

    @abstractmethod
    def forward(self, signals: Signals) -> Float[Tensor, "signals codes"]:
        """Return the codes of the signals."""


class Codebook(Coder):
    """One free code per signal, stored under the signal's name.

    A checkpoint with other names loads as far as the names agree; without names the rows must be as many.
    Shapes: signals.index (signals,) -> codes (signals, experts + channels).
    Raises: InputError unless there is at least one signal.
    """

    encodes = False
    sees = "nothing, being a free code per signal"

    def __init__(self, signals: int, experts: int, channels: int) -> None:
        super().__init__()
        if signals < 1:
            raise InputError(f"A codebook needs at least one signal, got signals={signals}.")
        self.codes = nn.Parameter(random_codes(signals, experts, channels))
        self.names: list[str] = []
        self.register_load_state_dict_pre_hook(match_names)

    def forward(self, signals: Signals) -> Float[Tensor, "signals codes"]:
        """Look up the codes of the signals."""
        return F.embedding(signals.index, self.codes)

    def get_extra_state(self) -> Tensor:
        """Return the names as bytes in a tensor, so that every format of checkpoints can hold them."""
        # Every name ends in a line break; without names it is the only byte, since an empty buffer is refused.
        return torch.frombuffer(bytearray("\n".join(self.names).encode() + b"\n"), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the saved names over where there are none."""
        self.names = self.names or names_in(state)


def names_in(state: Tensor) -> list[str]:
    """Return the names that a codebook saved, none if it had none."""
    return bytes(state.tolist()).decode().split("\n")[:-1] if state.numel() > 1 else []


def match_names(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Put saved codes into the rows of the same names, before a codebook loads them; other rows stay as they are."""
    assert isinstance(module, Codebook)
    saved = names_in(state.get(f"{prefix}_extra_state", torch.empty(0)))
    if saved and module.names and saved != module.names:
        rows, codes = {name: row for row, name in enumerate(saved)}, module.codes.detach().clone()
        for row, name in enumerate(module.names):
            if name in rows:
                codes[row] = state[f"{prefix}codes"][rows[name]]
        state[f"{prefix}codes"] = codes


class Block(nn.Module):
    """Two convolutions, the first of which halves the grid; `residual` adds a strided projection of the input."""

    def __init__(self, axes: int, in_channels: int, out_channels: int, residual: bool) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[axes]
        self.halve = convolution(in_channels, out_channels, 3, stride=2, padding=1)
        self.refine = convolution(out_channels, out_channels, 3, padding=1)
        # By group and not by batch, as torchvision's ResNets: a code depends on its signal alone, in training as well.
        self.before = nn.GroupNorm(GROUPS, out_channels)
        self.after = nn.GroupNorm(GROUPS, out_channels)
        self.project = convolution(in_channels, out_channels, 1) if residual else None
        self.every_second: tuple[EllipsisType | slice, ...] = (..., *[slice(None, None, 2)] * axes)

    def forward(self, x: Tensor) -> Tensor:
        """Return features on a grid of half the size."""
        y = self.after(self.refine(self.before(self.halve(x)).relu()))
        # The stride stands outside of the projection: backward of a strided 1x1 convolution writes beyond its memory in
        # oneDNN 3.12 on processors without avx512, which ends the process.
        return (y if self.project is None else y + self.project(x[self.every_second])).relu()


class ConvCoder(Coder):
    """A convolutional encoder: code = encoder(observation). It sees the samples that it is asked to reproduce.

    Blocks that halve the grid and double the channels, down to a grid of about 4 cells per axis, then one linear layer.
    Shapes: signals.observations (signals, *shape, channels) -> codes (signals, experts + channels).
    Raises: InputError for more than three axes or a width that 8 does not divide.
    Source: the image encoders of Neural Implicit Dictionary Learning (ICML 2022), section 3.3; normalised by group.
    """

    reads = "grids"
    sees = "the observed (corrupted) signal, through a convolutional encoder"
    residual = False

    def __init__(self, shape: Sequence[int], experts: int, channels: int, width: int = 32) -> None:
        super().__init__()
        axes = len(shape)
        if axes not in CONVOLUTIONS or width < 1 or width % GROUPS:
            rule = f"An encoder needs one to three axes and a width divisible by {GROUPS}"
            raise InputError(f"{rule}, got {axes} axes and width={width}.")
        depth = max(1, round(math.log2(max(min(shape) / CELLS, 2))))
        widths = [channels, *(width * 2 ** min(level, DOUBLINGS) for level in range(depth))]
        self.blocks = nn.Sequential(*(Block(axes, *pair, self.residual) for pair in pairwise(widths)))
        self.pool = POOLS[axes - 1]
        self.last = nn.Linear(widths[-1] * CELLS**axes, experts + channels)
        self.scale = 1 / math.sqrt(experts)  # codes as large as those of a codebook

    def forward(self, signals: Signals) -> Float[Tensor, "signals codes"]:
        """Compute the codes of the signals."""
        if signals.observations is None:
            raise InputError("An encoder computes codes from observations, got none; choose model.coder=codebook.")
        features = self.blocks(signals.observations.movedim(-1, 1))
        return self.scale * at_least_float32(self.last(self.pool(features, CELLS).flatten(1)))


class ResNetCoder(ConvCoder):
    """`ConvCoder` with residual blocks. Source: He et al., Deep Residual Learning for Image Recognition (2016), section 3."""

    sees = "the observed (corrupted) signal, through a residual encoder"
    residual = True

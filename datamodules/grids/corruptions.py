"""Corruptions of a signal before it is observed: occluders, noise, missing samples."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.files import existing_file, require
from datamodules.common.pictures import read_image
from inr.errors import InputError
from inr.randomness import generator, key

OPTION = "data.corruptions:"  # what the messages name; each says which corruption
INSIDE = "must be between 0 and 1, both excluded"


@dataclass(frozen=True)
class Corrupted:
    """A signal after corruption.

    Shapes: values (*shape, channels); region (*shape): samples that are altered; missing (*shape): those of them that are
            known to say nothing.
    """

    values: Tensor
    region: Tensor
    missing: Tensor


class Corruption(ABC):
    """A change of a signal (*shape, channels) whose numbers lie in 0..1, drawn from a generator."""

    @abstractmethod
    def __call__(self, values: Tensor, generator: torch.Generator) -> Corrupted:
        """Corrupt the signal; numbers may leave 0..1."""


def nothing(values: Tensor) -> Tensor:
    """Return a mask (*shape) of no sample."""
    return torch.zeros(values.shape[:-1], dtype=torch.bool)


def everything(values: Tensor) -> Tensor:
    """Return a mask (*shape) of every sample."""
    return ~nothing(values)


def block(shape: Sequence[int], sides: Sequence[int], generator: torch.Generator) -> tuple[slice, ...]:
    """Draw the place of a block of these sides, all equally likely."""
    starts = [int(torch.randint(size - side + 1, (), generator=generator)) for size, side in zip(shape, sides, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))


class Occlusion(Corruption):
    """A square (of a sound: a stretch) of `size` samples a side, filled with `stripes` stripes of random colours."""

    def __init__(self, size: int = 24, stripes: int = 4) -> None:
        given = f"stripes={stripes}, size={size}"
        require(OPTION, 1 <= stripes <= size, "occlusion needs 1 <= stripes <= size", given)
        self.size, self.stripes = size, stripes

    def __call__(self, values: Tensor, generator: torch.Generator) -> Corrupted:
        """Lay a square over the signal; the stripes follow one another along a random axis."""
        shape, channels = values.shape[:-1], values.shape[-1]
        rule = f"the size of an occlusion must fit into the signal, {list(shape)}"
        require(OPTION, self.size <= min(shape), rule, self.size)
        place = block(shape, [self.size] * len(shape), generator)
        colours = torch.rand(self.stripes, channels, generator=generator)
        across = int(torch.randint(len(shape), (), generator=generator))
        stripes = colours[torch.arange(self.size) * self.stripes // self.size]  # (size, channels), of equal width to one sample
        values, region = values.clone(), nothing(values)
        values[place] = stripes.reshape(*[self.size if axis == across else 1 for axis in range(len(shape))], channels)
        region[place] = True
        return Corrupted(values, region, nothing(values))


class ColourJitter(Corruption):
    """A gain in 1 +- `scale` and an offset in +- `shift` for every channel."""

    def __init__(self, scale: float = 0.2, shift: float = 0.1) -> None:
        holds = 0 <= scale < 1 and 0 <= shift <= 1  # a gain of 0 would leave nothing
        require(OPTION, holds, "jitter needs 0 <= scale < 1 and 0 <= shift <= 1", f"{scale} and {shift}")
        self.scale, self.shift = scale, shift

    def __call__(self, values: Tensor, generator: torch.Generator) -> Corrupted:
        """Change the colours throughout."""
        gain, offset = 2 * torch.rand(2, values.shape[-1], generator=generator) - 1  # in -1..1, per channel
        return Corrupted(values * (1 + self.scale * gain) + self.shift * offset, everything(values), nothing(values))


class Missing(Corruption):
    """A `fraction` of the samples is missing, or those where the picture in the file `mask` is not zero."""

    def __init__(self, fraction: float = 0.5, mask: str | None = None) -> None:
        require(OPTION, 0 < fraction < 1, f"the fraction of missing samples {INSIDE}", fraction)
        self.fraction, self.mask = fraction, None
        if mask is not None:
            self.mask = torch.from_numpy(read_image(existing_file("data.corruptions: mask", mask)).any(-1))

    def __call__(self, values: Tensor, generator: torch.Generator) -> Corrupted:
        """Take samples away."""
        shape = values.shape[:-1]
        if self.mask is not None:
            rule = f"the picture of missing samples must be as large as the signal, {list(shape)}"
            require(OPTION, self.mask.shape == shape, rule, list(self.mask.shape))
            return Corrupted(values, self.mask, self.mask)
        missing = nothing(values).flatten()
        missing[torch.randperm(len(missing), generator=generator)[: round(self.fraction * len(missing))]] = True
        return Corrupted(values, missing.reshape(shape), missing.reshape(shape))


class Gaussian(Corruption):
    """Independent noise of the standard deviation `sigma`, where 1 is the range of the signal."""

    def __init__(self, sigma: float = 0.1) -> None:
        require(OPTION, sigma > 0, "the sigma of noise must be positive", sigma)
        self.sigma = sigma

    def __call__(self, values: Tensor, generator: torch.Generator) -> Corrupted:
        """Add the noise."""
        noise = self.sigma * torch.randn(values.shape, generator=generator)
        return Corrupted(values + noise, everything(values), nothing(values))


class SaltAndPepper(Corruption):
    """A `fraction` of the samples is black or white."""

    def __init__(self, fraction: float = 0.1) -> None:
        require(OPTION, 0 < fraction < 1, f"the fraction of salt and pepper {INSIDE}", fraction)
        self.fraction = fraction

    def __call__(self, values: Tensor, generator: torch.Generator) -> Corrupted:
        """Replace samples by outliers, all channels alike."""
        hit, white = torch.rand(2, *values.shape[:-1], generator=generator)
        hit = hit < self.fraction
        return Corrupted(torch.where(hit[..., None], (white[..., None] < 0.5).float(), values), hit, nothing(values))


class Crop(Corruption):
    """All but a block at a random place, about a `fraction` of the samples, is missing."""

    def __init__(self, fraction: float = 0.25) -> None:
        require(OPTION, 0 < fraction < 1, f"the fraction that a crop keeps {INSIDE}", fraction)
        self.fraction = fraction

    def __call__(self, values: Tensor, generator: torch.Generator) -> Corrupted:
        """Take all but a block away."""
        shape, missing = values.shape[:-1], everything(values)
        share = self.fraction ** (1 / len(shape))  # of each side, so that the volume has the fraction
        missing[block(shape, [max(1, round(size * share)) for size in shape], generator)] = False
        return Corrupted(values, missing, missing)


class Damage:
    """Corruptions one after another, in file units; their randomness depends on the seed and the name of the signal alone.

    Missing samples read as the offset of the units, which networks see as zero.

    Options:
        corruptions: in the order they happen
        units: range of the file's values, which corruptions see as 0..1
        known: the altered samples are known, so that they count as missing
        seed: of the randomness

    Raises: InputError if nothing of a signal is left.
    """

    def __init__(self, corruptions: Sequence[Corruption], units: Units, known: bool = False, seed: int = 0) -> None:
        self.corruptions, self.units = corruptions, units
        self.known, self.seed = known, seed

    def __call__(self, values: Tensor, name: str) -> Corrupted:
        """Corrupt the signal (*shape, channels) of this name; float32, exact where it is not altered."""
        scale, offset = self.units.scale, self.units.offset
        original = values.float()
        # (value - offset) / scale lies in -1..1, and half of 1 more in 0..1
        seen = Corrupted(((original - offset) / scale + 1) / 2, nothing(values), nothing(values))
        for order, corruption in enumerate(self.corruptions):
            # By name, not by position: a signal is damaged alike in every split and every epoch.
            after = corruption(seen.values, generator(key(self.seed, name), order, "corruption"))
            seen = Corrupted(after.values.clamp(0, 1), seen.region | after.region, seen.missing | after.missing)
        missing = seen.missing | seen.region if self.known else seen.missing
        if missing.all():
            rule = "Some samples of a signal must be known"
            raise InputError(f"{rule}, of {name} none is left; use data.mask=unknown, or other corruptions.")
        altered = torch.where(seen.region[..., None], (2 * seen.values - 1) * scale + offset, original)
        return Corrupted(altered.masked_fill(missing[..., None], offset), seen.region, missing)


def corruptions_of(names: str | Sequence[str] | None, choices: dict[str, Corruption]) -> list[Corruption]:
    """Return the corruptions of these names, in this order.

    Raises: InputError for an unknown name.
    """
    asked = [] if names is None else [names] if isinstance(names, str) else list(names)
    unknown = [name for name in asked if name not in choices]
    if unknown:
        raise InputError(f"data.corruption must be among {', '.join(choices) or 'none'}, got {unknown[0]}; choose of these.")
    return [choices[name] for name in asked]

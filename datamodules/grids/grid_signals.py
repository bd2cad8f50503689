"""Signals on regular grids: the options and targets that one signal and a collection have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from datamodules.common.batch import Units
from datamodules.common.files import require
from datamodules.common.signal_data import Kind, SignalData
from datamodules.grids.corruptions import Corruption, Damage, corruptions_of
from inr.baselines.interpolation import Interpolation, linear, nearest
from inr.supervision.differences import check

MASKS = ("unknown", "known")


@dataclass(kw_only=True, eq=False)
class GridSignals(SignalData[Kind]):
    """Samples on a regular grid, whose coordinates are sample indices."""

    filter: str = "central"  # of the derivative targets: central, sobel (see `inr.supervision.differences`)
    border: str = "one_sided"  # their rule at the border: one_sided, replicate, periodic
    aspect: str = "stretch"  # read by the measurement: stretch maps every axis to [-1, 1], keep scales all axes alike
    corruption: str | Sequence[str] | None = None  # names of some of `corruptions`, which evaluated signals go through
    corruptions: Mapping[str, Corruption] = field(default_factory=dict)
    mask: str = "unknown"  # whether the altered samples are known, and then weigh nothing: unknown, known

    is_lattice: ClassVar[bool] = True
    interpolations: ClassVar[Mapping[str, Interpolation]] = {"nearest": nearest, "linear": linear}  # rows beside a result

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.filter, self.border)
        require("data.mask", self.mask in MASKS, f"must be one of {', '.join(MASKS)}", self.mask)
        self.alterations = corruptions_of(self.corruption, dict(self.corruptions))

    def damage(self, units: Units) -> Damage | None:
        """Return the corruptions that signals of these units go through, None if there are none."""
        return Damage(self.alterations, units, self.mask == "known", self.seed) if self.alterations else None

    def altered_definitions(self) -> dict[str, str]:
        """Return in words the samples that figures in and outside the altered region look at; none if there is no such."""
        if not self.alterations:
            return {}
        unknown = "unless they are missing, the network does not know which"
        known = "the network knows which" if self.mask == "known" else unknown
        altered = f"that {' and '.join(type(corruption).__name__ for corruption in self.alterations)} altered ({known})"
        return {"psnr_altered": f"of the samples {altered}", "psnr_intact": "of the other samples"}

    @property
    def stride(self) -> int:
        """Distance of the training grid's samples along each axis [samples]: above 1, what lies between is scored."""
        return 1

    @property
    def cut(self) -> bool:
        """True if items are cut into patches, which are signals of their own."""
        return self.pieces > 1

"""Signals on regular grids: the options and targets that one signal and a collection have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from datamodules.common.signal_data import Kind, SignalData
from inr.baselines.interpolation import Interpolation, linear, nearest
from inr.supervision.differences import check


@dataclass(kw_only=True, eq=False)
class GridSignals(SignalData[Kind]):
    """Samples on a regular grid, whose coordinates are sample indices."""

    filter: str = "central"  # of the derivative targets: central, sobel (see `inr.supervision.differences`)
    border: str = "one_sided"  # their rule at the border: one_sided, replicate, periodic
    aspect: str = "stretch"  # read by the measurement: stretch maps every axis to [-1, 1], keep scales all axes alike

    is_lattice: ClassVar[bool] = True
    interpolations: ClassVar[Mapping[str, Interpolation]] = {"nearest": nearest, "linear": linear}  # rows beside a result

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.filter, self.border)

    @property
    def stride(self) -> int:
        """Distance of the training grid's samples along each axis [samples]: above 1, what lies between is scored."""
        return 1

    @property
    def cut(self) -> bool:
        """True if items are cut into patches, which are signals of their own."""
        return self.pieces > 1

"""Which quantities of which part are compared with the data."""

import copy
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from inr.errors import InputError
from inr.supervision.losses import Term


class Part(Protocol):
    """What a term reads of a part of the batch."""

    targets: dict[str, Tensor]
    weights: dict[str, Tensor]


class Supervision:
    """Named terms; each reads one quantity (value or jacobian) of one part of the batch and carries one weight.

    Raises: InputError without terms, if a part is missing, or if it has no target that a term needs.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        if not terms:
            raise InputError("Supervision needs at least one term, got none.")
        self.terms = dict(terms)

    def quantities(self, part: str) -> frozenset[str]:
        """What has to be predicted for this part."""
        return frozenset(term.quantity for term in self.terms.values() if term.part == part)

    def fixes_constant(self) -> bool:
        """Whether the terms determine the signal, or only up to a constant per channel."""
        return any(term.quantity == "value" and term.weight > 0 and term.target for term in self.terms.values())

    def axes(self, part: str) -> list[int] | None:
        """Along which axes the jacobian of a part is read; None: along all."""
        named = [term.axes for term in self.terms.values() if term.part == part and term.quantity == "jacobian"]
        return None if None in named else sorted({axis for axes in named for axis in axes or ()})

    def along(self, part: str, axes: Sequence[int]) -> "Supervision":
        """The same terms; those on the jacobian of a part that do not name their axes look at these alone."""
        terms = {name: copy.copy(term) for name, term in self.terms.items()}
        for term in terms.values():
            if term.part == part and term.quantity == "jacobian" and term.axes is None:
                term.axes = list(axes)
        return Supervision(terms)

    def __call__(self, predictions: Mapping[str, dict[str, Tensor]], parts: Mapping[str, Part]) -> dict[str, Tensor]:
        """The weighted terms by name, each a scalar."""
        return {name: self.evaluate(name, term, predictions, parts) for name, term in self.terms.items()}

    def evaluate(
        self, name: str, term: Term, predictions: Mapping[str, dict[str, Tensor]], parts: Mapping[str, Part]
    ) -> Tensor:
        """One term."""
        if term.part not in parts:
            raise InputError(f"Term {name} reads the part {term.part}; this data has {', '.join(parts)}.")
        part, prediction = parts[term.part], predictions[term.part][term.quantity]
        if term.target is not None and term.quantity not in part.targets:
            has = ", ".join(part.targets) or "none"
            raise InputError(f"Term {name} needs a target {term.quantity}; part {term.part} has {has}.")
        target = part.targets[term.quantity] if term.target is not None else None
        return term(prediction, target, part.weights.get(term.quantity))

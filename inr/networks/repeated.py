"""Results that are kept where the same points are looked at again and again."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class Repeated(Generic[Result]):
    """A function of points alone, whose result is kept from the second time on that it is asked for the same points in a row.

    So it is in steps that show all samples, while points drawn at random cost a comparison that ends at the first number, and
    a copy. Kept results must not be changed in place.
    """

    def __init__(self, function: Callable[[Tensor], Result]) -> None:
        self.function = function
        self.kept: tuple[Tensor, Result | None] | None = None  # read and written as one, so that threads may share it

    def __call__(self, points: Tensor) -> Result:
        """Return the function's result, which is computed or remembered."""
        if not comparable(points):
            return self.function(points)
        last, result = self.kept or (None, None)
        if last is None or last.dtype != points.dtype or not torch.equal(last, points):
            self.kept = points.clone(), None  # a copy, since points may be overwritten
            return self.function(points)
        if result is None:
            result = self.function(points)
            self.kept = last, result
        return result


def comparable(points: Tensor) -> bool:
    """Tell whether these are plain numbers that can be compared at once, and their results be used in every later step."""
    if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
        return False
    # A GPU would have to be waited for; gradients flow to the points of this step, and transforms of `torch.func` hide theirs.
    hidden = torch._C._functorch.is_functorch_wrapped_tensor(points)
    return points.device.type == "cpu" and not points.requires_grad and not hidden

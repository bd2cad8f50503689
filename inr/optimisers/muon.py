"""Muon: steps of hidden matrices that are as large in every direction; all other parameters by Adam."""

# torch.optim.Muon takes matrices alone, no stacks, one after the other, and always in bfloat16: without instructions for
# it (AVX2) a step of three matrices of 256 x 256 takes two seconds.

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.optimisers.adam import Adam
from inr.optimisers.parameters import Parameters

# Of the odd polynomial a x + b x^3 + c x^5, chosen for the largest slope at 0 that keeps what it is iterated on near 1.
# Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024).
LINEAR = 3.4445
CUBIC = -4.7750
QUINTIC = 2.0315
TINY = 1e-12  # of a matrix's norm, so that zero stays zero
ADAM_RMS = 0.2  # root mean square of a usual step of Adam, in units of its rate
# Source: Liu et al., Muon is Scalable for LLM Training (2025), section 2.2.
INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # for products of bfloat16 matrices on a CPU


@functools.cache
def product_type(device: torch.device) -> torch.dtype:
    """Return the type in which a device multiplies float32 matrices fastest, precise enough for a direction."""
    if device.type == "cuda":
        half = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        half = device.type == "cpu" and any(torch.cpu.get_capabilities().get(name, False) for name in INSTRUCTIONS)
    return torch.bfloat16 if half else torch.float32


def orthogonalise(matrices: Float[Tensor, "*stack rows columns"], iterations: int = 5) -> Float[Tensor, "*stack rows columns"]:
    """Bring all singular values of each matrix near 1, between about 0.7 and 1.2, by Newton-Schulz iterations."""
    x = matrices.flatten(0, -3) if matrices.ndim > 2 else matrices[None]
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x  # the smaller of the two products with its transpose
    # The norm is at least the largest singular value, so all of them begin in 0..1.
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=TINY)
    if x.dtype == torch.float32:
        x = x.to(product_type(x.device))
    for _ in range(iterations):
        gram = x @ x.mT
        # a X + (b G + c G^2) X with G = X X^T maps each singular value s to a s + b s^3 + c s^5
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC), x, beta=LINEAR)
    return (x.mT if is_tall else x).to(matrices.dtype).reshape(matrices.shape)


class Muon(Adam):
    """Momentum, orthogonalised, on hidden matrices and stacks of them; Adam on everything else.

    A step is scaled to the root mean square of Adam's, so that a rate means the same to both, whatever the width.
    lr: rate of hidden matrices.
    rest_lr: of all other parameters: first and last layers, biases, codes; None: lr.
    tables_lr: of tables of explicit fields; None: rest_lr.
    momentum: share of the earlier gradients, in 0..1 without 1.
    iterations: of Newton-Schulz.
    betas, eps: of Adam.
    Raises: InputError for a momentum out of range or less than one iteration.
    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks (2024), with Nesterov's momentum.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 1e-3,
        rest_lr: float | None = None,
        tables_lr: float | None = None,
        momentum: float = 0.95,
        iterations: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not 0 <= momentum < 1 or iterations < 1:
            rule = "Muon needs a momentum in 0..1 without 1, and an iteration or more"
            raise InputError(f"{rule}, got momentum={momentum}, iterations={iterations}.")
        rest = lr if rest_lr is None else rest_lr
        options = {
            "hidden": {"lr": lr, "momentum": momentum, "iterations": iterations},
            "tables": {"lr": rest if tables_lr is None else tables_lr},
        }
        self.start(parameters, options, rest, betas, eps)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a saved state over as it is; Adam would look for its count of steps in that of hidden matrices."""
        torch.optim.Optimizer.__setstate__(self, state)

    def _init_group(self, group: dict[str, Any], params: list[Tensor], *others: Any) -> bool:
        """Collect what Adam steps: nothing of a group of hidden matrices."""
        return False if group["kind"] == "hidden" else super()._init_group(group, params, *others)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step."""
        loss = super().step(closure)  # calls the closure, which leaves the gradients
        for group in self.param_groups:
            if group["kind"] == "hidden":
                self.step_matrices(group)
        return loss

    def step_matrices(self, group: dict[str, Any]) -> None:
        """Take a step of hidden matrices, those of one shape at once."""
        momentum = group["momentum"]
        alike = dict[torch.Size, list[Tensor]]()
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike.setdefault(matrix.shape, []).append(matrix)
        for shape, matrices in alike.items():
            gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
            states = [self.state[matrix] for matrix in matrices]
            means = [state.setdefault("mean", torch.zeros_like(matrix)) for state, matrix in zip(states, matrices, strict=True)]
            torch._foreach_lerp_(means, gradients, 1 - momentum)
            # Nesterov: the mean as the next step would see it, were the gradient the same again
            directions = orthogonalise(torch.stack(torch._foreach_lerp(gradients, means, momentum)), group["iterations"])
            # All singular values 1: the entries of n x m have root mean square 1 / sqrt(max(n, m)).
            rate = group["lr"] * ADAM_RMS * math.sqrt(max(shape[-2:]))
            torch._foreach_add_(matrices, list(directions.unbind()), alpha=-rate)

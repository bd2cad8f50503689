"""Independent networks of several signals: the parameters of one, stacked, and evaluated side by side."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from inr.errors import InputError
from inr.field import Field, Network, Signals
from inr.networks.encoding import Encoding
from inr.tangents import pushforward
from inr.threads import share_out

Weights = dict[str, Tensor]  # (signals, ...) by the name that a parameter has in one network
Losses = dict[str, Tensor]


class Pushforward(nn.Module):
    """The pushforward of a network as the `forward` of a module, which `functional_call` can give other weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and their tangents."""
        return pushforward(self.network, points, tangents)


class SideBySide:
    """A network for one set of weights, evaluated with those of every signal; no module, so that it owns no parameters.

    Shapes: weights (signals, ...) by name, points (1|signals, ..., dims), tangents (axes, 1|signals, ..., dims)
            -> values (signals, ..., channels), their tangents (axes, signals, ..., channels).
    """

    # vmap: networks are written for one set of weights; their linear layers become batched matrix products.

    def __init__(self, network: Network) -> None:
        self.network = network
        self.tangents = Pushforward(network)
        self.encodes = any(isinstance(module, Encoding) for module in network.modules())

    def values(self, points: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Evaluate the networks."""
        points, axis = self.given(points, len(next(iter(weights.values()))))
        return vmap(partial(functional_call, self.network), (0, (axis,)))(dict(weights), (points,))

    def pushforward(self, points: Tensor, tangents: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Evaluate the networks, and their derivatives along the tangents."""
        signals = len(next(iter(weights.values())))
        points, axis = self.given(points, signals)
        tangents = tangents.expand(len(tangents), signals, *tangents.shape[2:])
        named = {f"network.{name}": weight for name, weight in weights.items()}
        return vmap(partial(functional_call, self.tangents), (0, (axis, 1)), (0, 1))(named, (points, tangents))

    def given(self, points: Tensor, signals: int) -> tuple[Tensor, int | None]:
        """Return the points as the networks are to get them, and their axis of signals; None: one set for all."""
        # Shared points are encoded once. Without an encoding the product of the first layer would come out signals last.
        if len(points) == 1 and self.encodes:
            return points[0], None
        return points.expand(signals, *points.shape[1:]), 0


@dataclass
class Evaluated:
    """The function of some weights."""

    networks: SideBySide
    weights: Weights

    def __call__(self, points: Tensor) -> Tensor:
        """Return values at the points."""
        return self.networks.values(points, self.weights)

    def pushforward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Return values, and their derivatives along the tangents."""
        return self.networks.pushforward(points, tangents, self.weights)


class KnownGradients(torch.autograd.Function):
    """A number whose gradients by some parameters have been computed already."""

    @staticmethod
    def forward(ctx: Any, number: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        """Return the number."""
        ctx.gradients = gradients
        return number.clone()

    @staticmethod
    def backward(ctx: Any, *by_number: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients, times that by the number."""
        return None, None, *(None if one is None else by_number[0] * one for one in ctx.gradients)


class Stacked(Network):
    """A network of each signal's own, all of which begin as one and the same, as each would alone.

    single: the network of one signal; its parameters become stacks (signals, ...), buffers are shared.
    Raises: InputError for a network of several signals, such as a dictionary, and for less than one signal.
    """

    def __init__(self, single: Network, signals: int) -> None:
        super().__init__()
        if type(single).field is not Network.field:
            rule = f"regime=single fits each of {signals} signals with a network of one field"
            raise InputError(f"{rule}, got {type(single).__name__}; choose another model, or regime=dictionary for nid_moe.")
        if signals < 1:
            raise InputError(f"A stack of networks needs at least one signal, got signals={signals}.")
        for parameter in single.parameters():
            parameter.data = parameter.detach().expand(signals, *parameter.shape).clone()
        self.single, self.signals = single, signals
        self.directions, self.spacing = single.directions, single.spacing
        self.side_by_side = SideBySide(single)
        self.copies: list[SideBySide] = []  # one for each thread, with the same parameters
        self.compiled = False

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Sort the stacks as the parameters of one network."""
        return self.single.groups()

    def weights_of(self, index: Int[Tensor, " signals"]) -> Weights:
        """Return the parameters (signals, ...) of some signals, by the names that they have in one network."""
        return {name: stack.index_select(0, index) for name, stack in self.single.named_parameters()}

    def field_of(self, weights: Weights, networks: SideBySide | None = None) -> Field:
        """Return the fields of these weights, evaluated by the networks themselves, or a copy of them."""
        return Field(Evaluated(networks or self.side_by_side, weights), spacing=self.spacing)

    def field(self, signals: Signals) -> Field:
        """Return the fields of these signals."""
        return self.field_of(self.weights_of(signals.index))

    def compile_functions(self, backend: str = "inductor") -> None:
        """Pass the evaluation of all networks, and their pushforward, through `torch.compile`."""
        for name in ("values", "pushforward"):
            setattr(self.side_by_side, name, torch.compile(getattr(self.side_by_side, name), backend=backend))
        self.compiled = True

    def tools(self) -> list[SideBySide]:
        """Return networks for as many threads as there are; compiled code shares its work out to them by itself."""
        threads = torch.get_num_threads()
        if threads == 1 or self.compiled:
            return [self.side_by_side]
        if len(self.copies) != threads:
            # Weights are lent to a module while it is evaluated, so that a module serves one thread at a time.
            shared = {id(parameter): parameter for parameter in self.single.parameters()}
            self.copies = [SideBySide(copy.deepcopy(self.single, dict(shared))) for _ in range(threads)]
        return self.copies

    def descend(
        self, groups: Sequence[Int[Tensor, " signals"]], losses_of: Callable[[Tensor, Field], Losses]
    ) -> tuple[Losses, Tensor]:
        """Return the mean of each loss over the signals, and their sum, whose gradients are those of each signal by itself.

        Each group is worked off at once, back to the parameters, so that a few signals' features stay in the caches of a core.
        losses_of: sums over the signals of a group, from their index and their fields.
        """

        def work(networks: SideBySide, index: Tensor) -> tuple[Losses, Sequence[Tensor | None]]:
            weights = {name: rows.detach().requires_grad_() for name, rows in self.weights_of(index).items()}
            losses = losses_of(index, self.field_of(weights, networks))
            total = torch.stack(list(losses.values())).sum()
            gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
            return {name: loss.detach() for name, loss in losses.items()}, gradients

        losses, found = zip(*share_out(work, self.tools(), groups), strict=True)
        signals = sum(map(len, groups))
        means = {name: torch.stack([one[name] for one in losses]).sum() / signals for name in losses[0]}
        stacks = list(self.single.parameters())
        gradients = [self.whole(stack, rows, groups) for stack, rows in zip(stacks, zip(*found, strict=True), strict=True)]
        return means, KnownGradients.apply(torch.stack(list(means.values())).sum(), gradients, *stacks)

    def whole(self, stack: Tensor, rows: Sequence[Tensor | None], groups: Sequence[Tensor]) -> Tensor | None:
        """Put the gradients of groups together to that of a stack, zero in all other rows; None where no loss depends on it."""
        known = [one for one in rows if one is not None]
        if not known:
            return None
        gradient = torch.cat(known)
        if len(gradient) == len(stack):  # of all signals, which groups have in order
            return gradient
        return torch.zeros_like(stack).index_copy_(0, torch.cat(list(groups)), gradient)


def stack(single: Network, signals: int = 1) -> Network:
    """Return a network of each signal's own; of one signal the network itself."""
    return single if signals == 1 else Stacked(single, signals)

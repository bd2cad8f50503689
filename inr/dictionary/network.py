"""The neural dictionary: one trunk for all signals, experts mixed into one head per signal."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inr.dictionary.coders import Codebook, Coder
from inr.dictionary.gates import expected_load, strongest
from inr.dictionary.penalties import Balance, Sparsity, Usage
from inr.dictionary.residuals import ResidualWeights
from inr.errors import InputError
from inr.field import Field, Network, Signals
from inr.networks.activations import Activation
from inr.networks.linear import Chain, ComplexLinear, Linear
from inr.networks.mlp import MLP
from inr.randomness import generator
from inr.tangents import contract


class NeuralDictionary(Network):
    """Fields that share a trunk h and differ in a code g: f(x) = (sum over k of g_k W_k) h(x) + bias.

    The experts W_k are mixed into one head per signal before anything is evaluated, so a point costs the same whatever
    their number.
    coder: gives each signal its code: a gate for every expert, then a bias per channel.
    top_k: number of gates, the largest in magnitude, that a signal uses; None: all.
    noise: standard deviation of gaussian noise on the gates when they are chosen in training.
    penalties: on the gates, by name.
    residuals: None, or what every signal adds to: its head, or all weights (`inr.dictionary.residuals`).
    Shapes: points (1|signals, ..., in_features) in [-1, 1] -> values (signals, ..., out_features).
    Raises: InputError for a trunk that has a head, experts below 1, a top_k outside 1 .. experts, or negative noise.
    Source: Neural Implicit Dictionary Learning via Mixture-of-Expert Training (ICML 2022), section 3.
    """

    def __init__(
        self,
        trunk: MLP,
        coder: Coder,
        experts: int,
        out_features: int,
        top_k: int | None = None,
        noise: float = 0.0,
        penalties: Mapping[str, Balance | Sparsity] | None = None,
        residuals: str | None = None,
    ) -> None:
        super().__init__()
        if experts < 1 or not noise >= 0:
            raise InputError(f"A dictionary needs experts >= 1 and noise >= 0, got {experts} and {noise}.")
        if top_k is not None and not 1 <= top_k <= experts:
            raise InputError(f"top_k must be in 1 .. experts = {experts}, or null for all, got top_k={top_k}.")
        self.trunk, self.coder = trunk, coder
        self.top_k, self.noise = top_k, noise
        self.penalties = dict(penalties or {})
        self.active_gates = experts if top_k is None else top_k
        self.seed, self.step = 0, 0
        # Each expert is initialised as a head of its own: one layer with all their outputs has the same fan-in.
        head = last_layer(trunk, experts * out_features)
        self.experts = nn.Parameter(head.reshape(experts, out_features, -1).clone())
        signals = len(coder.codes) if isinstance(coder, Codebook) else 0
        self.residuals = None if residuals is None else ResidualWeights(residuals, trunk, self.experts.shape[1:], signals)

    @property
    def unknowns(self) -> int:
        """Number of entries of a code: a gate per expert and a bias per channel."""
        return self.experts.shape[0] + self.experts.shape[1]

    def get_extra_state(self) -> Tensor:
        """Return the number of active gates, which changes while training."""
        return torch.tensor([self.active_gates])

    def set_extra_state(self, state: Tensor) -> None:
        """Use as many gates as the checkpoint says."""
        self.active_gates = int(state[0])

    def freeze(self) -> None:
        """Fix trunk and experts; codes and residual weights stay free, nothing is penalised."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(("coder.", "residuals.")))
        self.penalties = {}  # they shape a dictionary that is being learned
        self.noise = 0.0

    def at_step(self, step: int, seed: int, warmup: int) -> None:
        """Prepare a training step: all experts for `warmup` steps, then `top_k`, with noise that depends on seed and step."""
        self.seed, self.step = seed, step
        self.active_gates = len(self.experts) if self.top_k is None or step < warmup else self.top_k

    def gate(self, gates: Float[Tensor, "signals experts"]) -> tuple[Float[Tensor, "signals experts"], Usage]:
        """Return the active gates, the others zero, and their usage for the penalties."""
        experts = gates.shape[-1]
        if self.active_gates >= experts:
            return gates, Usage(gates, gates.new_full((experts,), len(gates)), dense=True, warm=self.top_k is not None)
        noise, noisy = self.noise if self.training else 0.0, gates
        if noise:
            # A function of seed and step alone, so that a resumed run and every process see the same noise.
            random = generator(self.seed, self.step, "gates", gates.device)
            noisy = gates + noise * torch.randn(gates.shape, generator=random, device=gates.device).to(gates)
        # Noise chooses the gates; their values stay as they are, and gradients flow through them.
        active = gates * strongest(noisy.abs(), self.active_gates)
        return active, Usage(active, expected_load(gates, noisy, self.active_gates, noise))

    def field(self, signals: Signals) -> Field:
        """Return the fields of these signals, with the penalties of their codes while training."""
        codes = self.coder(signals)
        gates, usage = self.gate(codes[:, : len(self.experts)])
        field = self.field_of(torch.cat([gates, codes[:, len(self.experts) :]], -1), signals.index)
        field.penalties = {name: term(usage) for name, term in self.penalties.items()} if self.training else {}
        return field

    def field_of(self, codes: Float[Tensor, "signals codes"], index: Int[Tensor, " signals"] | None = None) -> Field:
        """Return the fields of these codes, all gates as they are; with an index also with the residuals of the signals."""
        gates, bias = codes.split([len(self.experts), self.experts.shape[1]], -1)
        # In float32: rounding of the few numbers of a head would be the same error at all points.
        with torch.autocast(codes.device.type, enabled=False):
            heads = (gates @ self.experts.flatten(1)).unflatten(1, self.experts.shape[1:])
        if self.residuals is None or index is None:
            return Field(Mixture(self, heads, bias))
        return Field(Mixture(self, heads + self.residuals.heads[index], bias, self.residuals.weights_of(index)))

    def features(self) -> Field:
        """Return the field (1, ..., features + 1) that all fields are linear in: the features of the trunk, and 1."""
        return Field(Features(self.trunk))

    def atoms(self, features: Float[Tensor, "1 *batch features"]) -> Float[Tensor, "unknowns *batch channels"]:
        """Return the fields of unit codes, from what was observed of `features` in a way that is linear in them."""
        # f = W h + bias is linear in (h, 1): an expert's atom is W_k h, a channel's is the observation of 1 in it.
        with torch.autocast(features.device.type, enabled=False):
            gates = torch.einsum("...f,kcf->k...c", features[0, ..., :-1].to(self.experts), self.experts)
            channels = torch.eye(self.experts.shape[1], dtype=gates.dtype, device=gates.device)
            biases = torch.einsum("...,cd->c...d", features[0, ..., -1].to(gates), channels)
        return torch.cat([gates, biases])

    def with_codes(self, codes: Float[Tensor, "signals codes"]) -> "NeuralDictionary":
        """Return the same dictionary, its parameters shared, for signals of these codes, all of whose gates are active."""
        shared = copy.copy(self)
        shared._modules = dict(self._modules)  # a copy of the module shares this table, too
        shared.coder = Codebook(len(codes), len(self.experts), self.experts.shape[1])
        shared.coder.codes = nn.Parameter(codes, requires_grad=False)
        shared.active_gates = len(self.experts)
        shared.residuals = None
        return shared

    def forward(self, points: Tensor, heads: Tensor, bias: Tensor, weights: tuple[Tensor, ...] = ()) -> Tensor:
        """Return values (signals, ..., channels) of heads (signals, channels, features), of trunks of own weights if given."""
        features = self.residuals.trunk(points, weights) if self.residuals and weights else self.trunk(points)
        return mix(features[None], heads, bias)[0]

    def pushforward(
        self, points: Tensor, tangents: Tensor, heads: Tensor, bias: Tensor, weights: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return values, and their derivatives along the tangents (axes, 1|signals, ..., in_features)."""
        signals, channels, _ = heads.shape
        # Through a shared trunk, tangents are one pass per axis, and gradients one per channel (and signal, unless every
        # signal has points of its own): the fewer of the two are taken.
        if not weights and channels * (signals if len(points) == 1 else 1) < len(tangents):
            features, back = self.trunk.pullback(points)
            cotangents = heads.transpose(0, 1).reshape(channels, signals, *[1] * (points.ndim - 2), -1)
            return mix(features[None], heads, bias)[0], contract(back(cotangents), tangents)
        if self.residuals and weights:
            features, slopes = self.residuals.pushforward(points, tangents, weights)
        else:
            features, slopes = self.trunk.pushforward(points, tangents)
        return mix(features[None], heads, bias)[0], mix(slopes, heads)


@dataclass
class Features:
    """The function of `NeuralDictionary.features`."""

    trunk: MLP

    def __call__(self, points: Tensor) -> Tensor:
        """Return features of the points, and 1."""
        features = self.trunk(points)
        return torch.cat([features, torch.ones_like(features[..., :1])], -1)

    def pushforward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same, and their derivatives along the tangents."""
        features, slopes = self.trunk.pushforward(points, tangents)
        ones = torch.ones_like(features[..., :1])
        return torch.cat([features, ones], -1), torch.cat([slopes, torch.zeros_like(slopes[..., :1])], -1)


@dataclass
class Mixture:
    """The function of some heads, and of the weights of the trunk of each signal where these differ."""

    network: NeuralDictionary
    heads: Tensor
    bias: Tensor
    weights: tuple[Tensor, ...] = ()

    def __call__(self, points: Tensor) -> Tensor:
        """Return values at the points."""
        return self.network(points, self.heads, self.bias, self.weights)

    def pushforward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Return values, and their derivatives along the tangents."""
        return self.network.pushforward(points, tangents, self.heads, self.bias, self.weights)


def mix(features: Tensor, heads: Tensor, bias: Tensor | None = None) -> Tensor:
    """Put features of points through the head of each signal, in float32 also under autocast.

    Shapes: features (axes, 1|signals, *points, features), heads (signals, channels, features), bias (signals, channels)
            -> (axes, signals, *points, channels).
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features.to(heads.dtype)
        signals, channels, width = heads.shape
        axes, shared, *points, _ = features.shape
        if shared not in (1, signals):
            raise InputError(f"Points must be shared, or given for each of the {signals} signals, got those of {shared}.")
        flat = features.reshape(axes, shared, -1, width)
        if shared == signals:
            values = flat @ heads.mT
        else:  # one product for all heads: features are read once, not once per signal; einops would take 10 us more
            values = (flat[:, 0] @ heads.flatten(0, 1).T).unflatten(-1, (signals, channels)).movedim(2, 1)
        if bias is not None:
            values = values + bias[:, None]
        return values.reshape(axes, signals, *points, channels)


def last_layer(trunk: MLP, out_features: int) -> Tensor:
    """Return weights (out_features, features) of a last layer on a trunk, initialised as its activation asks for."""
    activation = trunk.layers[-1]
    if not isinstance(trunk.layers, Chain) or not isinstance(activation, Activation):
        raise InputError("The trunk of a dictionary must end in its activation; give it out_features: null.")
    head = activation.layer(trunk.hidden_features, out_features, "last")
    assert isinstance(head, Linear | ComplexLinear)
    return head.matrix().detach()

"""Parameters by kind: every one in exactly one group, in every model that there is."""

import pytest
import torch
from tiny.signals import CODERS, MODELS, OF_SCENES, network
from torch import nn

from inr.dictionary.residuals import ResidualWeights
from inr.field import Network
from inr.networks.activations import Sine
from inr.networks.mlp import MLP
from inr.networks.radiance import Cascade
from inr.optimisers.parameters import Parameters

CODED = [("nid_moe", coder) for coder in CODERS]


def build(model, coder=None):
    """A small network of any model; those of scenes have three axes."""
    if model == "cascade":
        return Cascade(build("radiance"), build("radiance"))
    return network(model, 3 if model in OF_SCENES else 2, 4, parts={"coder": coder} if coder else None)


def groups(network):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {kind: [names[id(parameter)] for parameter in group] for kind, group in network.groups().items()}


@pytest.mark.parametrize(("model", "coder"), [*((model, None) for model in MODELS if model != "nid_moe"), *CODED])
def test_every_parameter_is_in_one_group(model, coder):
    made = build(model, coder)
    found = [name for group in groups(made).values() for name in group]
    assert sorted(found) == sorted(name for name, _ in made.named_parameters())
    parameters = Parameters(made)
    assert all(one is other for one, other in zip(parameters, made.parameters(), strict=True))
    for name, kind in zip((name for name, _ in made.named_parameters()), parameters.kinds, strict=True):
        assert name in groups(made)[kind]


@pytest.mark.parametrize("model", ["sine", "relu", "fourier", "gauss", "wire", "finer"])
def test_hidden_matrices_lie_between_the_first_and_the_last_layer(model):
    sorted_out = groups(build(model))  # three hidden layers
    first = 1 if model in ("relu", "fourier") else 0  # behind an encoding
    assert sorted_out["hidden"] == [f"layers.{first + 2 * layer}.weight" for layer in (1, 2)]
    assert not sorted_out["tables"]


@pytest.mark.parametrize("model", ["grid", "spline"])
def test_explicit_fields_and_the_layers_that_read_them_are_tables(model):
    made = build(model)
    assert groups(made) == {"hidden": [], "tables": [name for name, _ in made.named_parameters()], "rest": []}


def test_models_made_of_others_keep_their_kinds():
    radiance = ["features.weight", "colour.0.weight", "trunk.layers.3.weight", "trunk.layers.5.weight"]
    assert sorted(groups(build("radiance"))["hidden"]) == sorted(radiance)
    cascade = groups(build("cascade"))["hidden"]
    assert sorted(cascade) == sorted(f"{half}.{name}" for half in ("coarse", "fine") for name in radiance)
    assert groups(build("nid_moe"))["hidden"] == ["trunk.layers.2.weight", "trunk.layers.4.weight"]


def test_what_signals_add_to_hidden_matrices_is_a_stack_of_them():
    trunk = MLP(2, None, Sine(), hidden_features=8, hidden_layers=3)
    residuals = ResidualWeights("all", trunk, (3, 8), signals=5)
    assert [tuple(stack.shape) for stack in residuals.hidden_matrices()] == [(5, 8, 8), (5, 8, 8)]
    assert ResidualWeights("head", trunk, (3, 8), signals=5).hidden_matrices() == []


def test_tables_are_known_by_their_names_and_frozen_parameters_left_out():
    class Explicit(Network):
        def __init__(self):
            super().__init__()
            self.levels = nn.ParameterDict({"table": torch.zeros(4, 2)})
            self.coefficients = nn.Parameter(torch.zeros(3, 3))
            self.tables_of_nothing = nn.Parameter(torch.zeros(1))
            self.head = MLP(2, 1, Sine(), hidden_features=4, hidden_layers=2)

    explicit = Explicit()
    assert sorted(groups(explicit)["tables"]) == ["coefficients", "levels.table"]
    assert groups(explicit)["hidden"] == ["head.layers.2.weight"]
    explicit.coefficients.requires_grad_(False)
    explicit.head.requires_grad_(False)
    assert Parameters(explicit).kinds == ["rest", "tables"]

import math
from types import SimpleNamespace

import pytest
import torch
from tiny.signals import EXPERTS

from inr.dictionary.coders import Codebook, ConvCoder, ResNetCoder
from inr.dictionary.network import NeuralDictionary
from inr.dictionary.normal_equations import Problem
from inr.dictionary.penalties import Balance, Sparsity
from inr.dictionary.residuals import ResidualWeights
from inr.dictionary.solvers import L1, Ridge, TopK
from inr.errors import InputError
from inr.field import Signals
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import Sine
from inr.networks.mlp import MLP
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision

ALL = Signals(torch.arange(3))
VALUE = SquaredError()


def build(experts=EXPERTS, head=None, **options):
    trunk = MLP(2, head, Sine(), hidden_features=4)
    return NeuralDictionary(trunk, Codebook(3, EXPERTS, 3), experts, out_features=3, **options)


def solve(solver, term, coordinates=1):
    part = SimpleNamespace(
        coordinates=torch.rand(coordinates, 5, 2), targets={"value": torch.rand(3, 5, 3)}, weights={}, context={}
    )
    batches = [SimpleNamespace(signals=ALL, parts={"data": part})]
    problem = Problem(build(), {"data": Pointwise((4, 4))}, Supervision({"value": term}), lambda: batches)
    return solver(problem, torch.zeros(1, EXPERTS + 3), 1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: build(head=3), "trunk of a dictionary must end in its activation; give it out_features: null"),
        (lambda: build(0), "experts >= 1 and noise >= 0, got 0 and 0.0"),
        (lambda: build(noise=-0.1), "experts >= 1 and noise >= 0, got 8 and -0.1"),
        (lambda: build(noise=math.nan), "experts >= 1 and noise >= 0, got 8 and nan"),
        (lambda: build(top_k=0), "1 .. experts = 8, or null for all, got top_k=0"),
        (lambda: build(top_k=9), "1 .. experts = 8, or null for all, got top_k=9"),
        (lambda: build(residuals="tail"), "null or one of head, all, got tail"),
        (lambda: ResidualWeights("head", MLP(2, None, Sine()), (3, 4), 0), "need a codebook, which counts them"),
        (
            lambda: NeuralDictionary(MLP(2, None, Sine()), ConvCoder((8, 8), 4, 3), 4, 3, residuals="head"),
            "need a codebook, which counts them; choose model.coder=codebook",
        ),
        (lambda: build().field(ALL)(torch.rand(2, 5, 2)), "shared, or given for each of the 3 signals, got those of 2"),
        (lambda: Balance(importance=-1.0), "must not be negative, got importance=-1.0, load=0.01"),
        (lambda: Balance(load=math.nan), "must not be negative, got importance=0.01, load=nan"),
        (lambda: Sparsity(-1.0), "weight >= 0 and base >= 1, got weight=-1.0, base=1.0"),
        (lambda: Sparsity(base=0.9), "weight >= 0 and base >= 1, got weight=0.01, base=0.9"),
        (lambda: Codebook(0, 4, 3), "at least one signal, got signals=0"),
        (lambda: ConvCoder((4, 4, 4, 4), 4, 3), "one to three axes and a width divisible by 8, got 4 axes and width=32"),
        (lambda: ResNetCoder((), 4, 3), "one to three axes and a width divisible by 8, got 0 axes and width=32"),
        (lambda: ConvCoder((8, 8), 4, 3, width=12), "one to three axes and a width divisible by 8, got 2 axes and width=12"),
        (lambda: ConvCoder((8, 8), 4, 3, width=0), "one to three axes and a width divisible by 8, got 2 axes and width=0"),
        (lambda: ConvCoder((8, 8), 4, 3)(ALL), "from observations, got none; choose model.coder=codebook"),
        (lambda: Ridge(-1.0), "finite and not negative, or null to choose it, got -1.0"),
        (lambda: Ridge(math.inf), "finite and not negative, or null to choose it, got inf"),
        (lambda: L1(ridge=math.nan), "finite and not negative, or null to choose it, got nan"),
        (lambda: TopK(0), "must be at least 1, got k=0, stages=6"),
        (lambda: TopK(4, stages=0), "must be at least 1, got k=4, stages=0"),
        (lambda: solve(TopK(9), VALUE), "at most the number of experts, 8, got 9"),
        (lambda: L1("l2"), "one of geman_mcclure, l1, got l2"),
        (lambda: L1(iterations=0), "must be positive, got 0 and 1.5"),
        (lambda: L1(cutoff=0.0), "must be positive, got 10 and 0.0"),
        (lambda: L1(cutoff=math.nan), "must be positive, got 10 and nan"),
        (lambda: solve(Ridge(), VALUE, coordinates=3), "coordinates that all signals share, got 3"),
        (lambda: solve(Ridge(), SquaredError(target=None)), "terms that compare with data, got none of positive weight"),
        (lambda: solve(Ridge(), SquaredError(weight=0.0)), "terms that compare with data, got none of positive weight"),
    ],
)
def test_impossible_options_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()


def test_possible_ones_are_not():
    assert build(top_k=EXPERTS, residuals="all").field(ALL)(torch.rand(3, 5, 2)).shape == (3, 5, 3)
    assert solve(TopK(EXPERTS), VALUE).shape == solve(Ridge(), VALUE).shape == (3, EXPERTS + 3)

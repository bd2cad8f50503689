import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from inr.errors import InputError
from inr.field import Network
from inr.networks.linear import Linear
from inr.optimisers import muon
from inr.optimisers.adam import Adam
from inr.optimisers.muon import Muon, orthogonalise
from inr.optimisers.parameters import Parameters


class Tiny(Network):
    """A hidden matrix 6 x 4 and its bias, a last layer, and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = Linear(4, 6)
        self.last = Linear(6, 2, exact=True)
        self.table = nn.Parameter(torch.randn(9, 4))


def give_gradients(network, seed):
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)


SHAPES = [(64, 64), (20, 50), (50, 20), (5, 12, 30), (2, 3, 16, 8), (1, 7), (7, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_newton_schulz_makes_singular_values_nearly_one_and_keeps_singular_vectors(shape, float64):
    u, sizes, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    conditioned = u * sizes.clamp(min=0.05 * sizes.amax(-1, keepdim=True))[..., None, :] @ v
    result = u.mT @ orthogonalise(conditioned) @ v.mT
    values = result.diagonal(dim1=-2, dim2=-1)
    assert values.min() > 0.65
    assert values.max() < 1.25
    assert_close(result, values.diag_embed(), rtol=0, atol=1e-8)


def test_newton_schulz_looks_at_directions_alone(float64):
    matrix = torch.randn(12, 9)
    assert_close(orthogonalise(1e-6 * matrix), orthogonalise(matrix))
    assert_close(orthogonalise(1e6 * matrix.T), orthogonalise(matrix).T)
    assert not orthogonalise(torch.zeros(12, 9)).any()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) > 2])
def test_a_stack_is_as_its_matrices_one_by_one(shape, float64):
    stack = torch.randn(shape)
    one_by_one = torch.stack([orthogonalise(matrix) for matrix in stack.flatten(0, -3)])
    assert_close(orthogonalise(stack), one_by_one.reshape(shape))


@pytest.mark.parametrize("half", [False, True])
def test_half_precision_is_good_enough_for_a_direction(half, monkeypatch):
    monkeypatch.setattr(muon, "product_type", lambda device: torch.bfloat16 if half else torch.float32)
    matrix = torch.randn(48, 32, generator=torch.Generator().manual_seed(0))
    seen, exact = orthogonalise(matrix), orthogonalise(matrix.double()).float()
    assert seen.dtype == torch.float32
    assert_close(seen, exact, rtol=0, atol=0.02 if half else 1e-5)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_products_are_in_half_precision_only_where_there_are_instructions_for_it(device, monkeypatch):
    muon.product_type.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "avx2": True})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert muon.product_type(torch.device(device)) == (torch.bfloat16 if device == "cuda" else torch.float32)
    muon.product_type.cache_clear()


def test_a_step_is_the_one_computed_by_hand(float64):
    network = Tiny()
    optimizer = Muon(Parameters(network), lr=0.03, rest_lr=0.02, tables_lr=0.01, momentum=0.8, iterations=4)
    weight, mean = network.middle.weight.detach().clone(), torch.zeros(6, 4)
    for seed in (1, 2, 3):
        give_gradients(network, seed)
        gradient = network.middle.weight.grad
        mean = 0.8 * mean + 0.2 * gradient
        x = 0.2 * gradient + 0.8 * mean
        x = x / x.norm()
        for _ in range(4):
            gram = x @ x.T
            x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
        weight -= 0.03 * 0.2 * math.sqrt(6) * x
        optimizer.step()
        assert_close(network.middle.weight.detach(), weight)


def test_matrices_step_as_with_the_optimiser_of_torch_and_everything_else_as_with_adam(monkeypatch):
    monkeypatch.setattr(muon, "product_type", lambda device: torch.bfloat16)  # torch knows no other
    torch.manual_seed(0)
    networks = [Tiny() for _ in range(3)]
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    optimizers = [
        Muon(Parameters(networks[0]), lr=0.03, rest_lr=0.02, tables_lr=0.01),
        torch.optim.Muon([networks[1].middle.weight], lr=0.03, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        Adam(Parameters(networks[2]), lr=0.02, tables_lr=0.01),
    ]
    for seed in (1, 2, 3):
        for network, optimizer in zip(networks, optimizers, strict=True):
            give_gradients(network, seed)
            optimizer.step()
    seen, by_torch, by_adam = (dict(network.named_parameters()) for network in networks)
    assert_close(seen["middle.weight"], by_torch["middle.weight"], rtol=0, atol=2e-3)  # bf16 products in another order
    assert not torch.allclose(seen["middle.weight"], by_adam["middle.weight"], atol=2e-3)
    for name in seen.keys() - {"middle.weight"}:
        assert torch.equal(seen[name], by_adam[name]), name


def test_a_stack_steps_as_its_matrices_do(float64):
    class Stacked(Network):
        def __init__(self, matrices):
            super().__init__()
            self.layers = nn.ModuleList(Linear(matrix.shape[-1], matrix.shape[-2]) for matrix in matrices)
            for layer, matrix in zip(self.layers, matrices, strict=True):
                layer.weight = nn.Parameter(matrix.clone())

    stack, gradients = torch.randn(3, 5, 4), torch.randn(2, 3, 5, 4)
    together, apart = Stacked([stack]), Stacked(stack.unbind())
    optimizers = [Muon(Parameters(network), lr=0.1) for network in (together, apart)]
    for gradient in gradients:
        together.layers[0].weight.grad = gradient
        for layer, one in zip(apart.layers, gradient, strict=True):
            layer.weight.grad = one
        for optimizer in optimizers:
            optimizer.step()
    assert_close(together.layers[0].weight, torch.stack([layer.weight for layer in apart.layers]))


def test_parameters_without_a_gradient_stay(float64):
    network = Tiny()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = Muon(Parameters(network))
    give_gradients(network, 0)
    network.middle.weight.grad = network.last.bias.grad = None
    optimizer.step()
    stayed = {name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])}
    assert stayed == {"middle.weight", "last.bias"}


@pytest.mark.parametrize("kind", [Adam, Muon])
def test_a_saved_state_goes_on_as_if_nothing_had_been(kind):
    torch.manual_seed(0)
    network = Tiny()
    optimizer = kind(Parameters(network), lr=1e-2)
    for seed in (1, 2):
        give_gradients(network, seed)
        optimizer.step()
    other = Tiny()
    other.load_state_dict(network.state_dict())
    again = kind(Parameters(other), lr=1e-2)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # which shares its tensors
    for seed in (3, 4):
        for one, stepper in ((network, optimizer), (other, again)):
            give_gradients(one, seed)
            stepper.step()
    assert all(map(torch.equal, network.parameters(), other.parameters()))
    assert str(again.state_dict()) == str(optimizer.state_dict())


def test_every_kind_has_its_rate():
    rates = {group["kind"]: group["lr"] for group in Muon(Parameters(Tiny()), lr=3.0, rest_lr=2.0, tables_lr=1.0).param_groups}
    assert rates == {"hidden": 3, "rest": 2, "tables": 1}
    rates = {group["kind"]: group["lr"] for group in Muon(Parameters(Tiny()), lr=3.0, rest_lr=2.0).param_groups}
    assert rates == {"hidden": 3, "rest": 2, "tables": 2}
    rates = {group["kind"]: group["lr"] for group in Adam(Parameters(Tiny()), lr=3.0, tables_lr=1.0).param_groups}
    assert rates == {"hidden": 3, "rest": 3, "tables": 1}
    assert {group["lr"] for group in Muon(Parameters(Tiny()), lr=3.0).param_groups} == {3}


def test_adam_is_that_of_torch(float64):
    networks = [Tiny(), Tiny()]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [Adam(Parameters(networks[0]), lr=0.02), torch.optim.Adam(networks[1].parameters(), lr=0.02)]
    for seed in (1, 2, 3):
        for network, optimizer in zip(networks, optimizers, strict=True):
            give_gradients(network, seed)
            optimizer.step()
    assert_close(list(networks[0].parameters()), list(networks[1].parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum in 0..1 without 1, .* got momentum=1.0"),
        ({"momentum": -0.1}, "got momentum=-0.1"),
        ({"iterations": 0}, "an iteration or more, .*iterations=0"),
        ({"lr": -1.0}, "rate"),
        ({"lr": -1.0, "rest_lr": 1.0}, "must not be negative, got -1.0"),
        ({"tables_lr": -2.0}, "must not be negative, got -2.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Muon(Parameters(Tiny()), **options)
    with pytest.raises(InputError, match="momentum=2"):
        Muon(Parameters(Tiny()), momentum=2.0)

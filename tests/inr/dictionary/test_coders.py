import io

import pytest
import torch
from safetensors.torch import load, save
from tiny.laws import assert_codes_depend_on_their_own_observations
from tiny.signals import CODERS, network
from torch.testing import assert_close

from inr.dictionary.coders import Codebook, ConvCoder, ResNetCoder
from inr.field import Signals

EXPERTS, CHANNELS = 6, 2
GRIDS = [(50,), (16, 16), (33, 20), (8, 9, 10), (3, 2)]
SEEN = {"pointnet": (40, 6)}  # of one signal, by coders that do not read a grid


pytestmark = pytest.mark.usefixtures("float64")


def codebook(*names, rows=None):
    book = Codebook(rows or len(names), EXPERTS, CHANNELS)
    book.names = list(names)
    return book


def through_torch(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def through_safetensors(state):
    return load(save({name: value.contiguous() for name, value in state.items()}))


def observed(signals, grid):
    return torch.randn(signals, *grid, CHANNELS)


def index(signals):
    return torch.arange(signals)


def test_a_code_is_looked_up_by_index():
    book = codebook(rows=4)
    assert torch.equal(book(Signals(torch.tensor([2, 0, 2]))), book.codes[[2, 0, 2]])


@pytest.mark.parametrize("carry", [through_torch, through_safetensors])
@pytest.mark.parametrize("names", [("c", "a"), ("d", "b", "new", "a", "other"), ("a", "b", "c", "d")])
def test_codes_are_loaded_by_name(names, carry):
    book, other = codebook("a", "b", "c", "d"), codebook(*names)
    before, saved = other.codes.detach().clone(), carry(book.state_dict())
    kept = {name: value.clone() for name, value in saved.items()}
    other.load_state_dict(saved)
    assert other.names == list(names)
    for row, name in enumerate(names):
        expected = book.codes["abcd".index(name)] if name in book.names else before[row]
        assert torch.equal(other.codes[row], expected)
    for name, value in kept.items():
        assert torch.equal(saved[name], value)  # what is loaded from stays as it was


@pytest.mark.parametrize("carry", [through_torch, through_safetensors])
@pytest.mark.parametrize("names", [("käse", "file 2.png", "a/b"), ()])
def test_names_are_saved_with_the_codes(names, carry):
    book, other = codebook(*names, rows=3), codebook(rows=3)
    other.load_state_dict(carry(book.state_dict()))
    assert other.names == list(names)
    assert torch.equal(other.codes, book.codes)


def test_a_codebook_without_names_takes_any_names_later():
    other = codebook(rows=2)
    other.load_state_dict(codebook(rows=2).state_dict())
    named = codebook("a", "b")
    other.load_state_dict(named.state_dict())
    assert other.names == ["a", "b"]
    assert torch.equal(other.codes, named.codes)


@pytest.mark.parametrize("saved", [(), ("a", "b")])
def test_without_names_the_rows_must_be_as_many(saved):
    with pytest.raises(RuntimeError, match="size mismatch"):
        codebook(rows=3).load_state_dict(codebook(*saved, rows=2).state_dict())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", [ConvCoder, ResNetCoder])
def test_a_code_depends_on_its_own_observation(kind, grid, training):
    coder, seen = kind(grid, EXPERTS, CHANNELS, width=8).train(training), observed(4, grid)
    assert coder(Signals(index(4), seen)).shape == (4, EXPERTS + CHANNELS)
    assert_codes_depend_on_their_own_observations(coder, seen)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_sample_of_an_observation_counts(grid):
    seen = observed(1, grid).requires_grad_()
    ConvCoder(grid, EXPERTS, CHANNELS, width=8)(Signals(index(1), seen)).square().sum().backward()
    assert (seen.grad != 0).float().mean() > 0.99


def test_a_residual_block_adds_a_projection_of_its_input():
    (block, *_), x = ResNetCoder((16, 16), EXPERTS, CHANNELS, width=8).blocks, torch.randn(2, CHANNELS, 16, 16)
    block.after.weight.data.zero_()
    block.after.bias.data.zero_()
    assert_close(block(x), block.project(x[..., ::2, ::2]).relu())  # which is what a stride of 2 would do


@pytest.mark.parametrize("coder", CODERS)
def test_every_coder_learns_all_of_its_parameters(coder):
    model = network("nid_moe", parts={"coder": coder})
    values = model.field(Signals(index(3), torch.randn(3, *SEEN.get(coder, (32, 32, 3)))))(torch.rand(1, 9, 2))
    assert values.shape == (3, 9, 3)
    values.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.norm() > 0, name


def test_codes_stay_in_float32_under_autocast():
    coder = ConvCoder((16, 16), EXPERTS, CHANNELS, width=8).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert coder(Signals(index(2), observed(2, (16, 16)).float())).dtype == torch.float32

import pytest
import torch
from tiny.laws import gradients
from torch.testing import assert_close

from inr.derivatives import observe_at, value_and_jacobian
from inr.errors import InputError
from inr.field import Field
from inr.measurements.radon import FanBeam, ParallelBeam
from inr.measurements.whole_slices import Product, WholeSlices, entries
from inr.networks.spline import Spline

BINS, VIEWS, SIZE = 9, 5, 12
BEAMS = {
    "parallel": ParallelBeam(bin_width=0.21, view_step=0.4, samples=40, centre=4.2),
    "square": ParallelBeam(bin_width=0.3, samples=40, centre=4.0, angles=[0.1, 0.5, 1.3, 1.9, 2.9], region="square"),
    "fan": FanBeam(bin_width=0.3, view_step=0.7, samples=40, centre=4.0),
}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def scan(beam, oversample=1, size=SIZE):
    return WholeSlices(BEAMS[beam].double(), BINS, VIEWS, [size, size - 2], oversample).double()


def waves(points):
    """A smooth field of two channels."""
    x, y = points.unbind(-1)
    return torch.stack([torch.sin(2 * x + y) + 0.3 * y**2, torch.cos(x - 1.5 * y)], -1)


@pytest.mark.parametrize("beam", BEAMS)
def test_adjoint_and_both_modes(beam):
    matrix = scan(beam).matrix(None)
    rows, columns = matrix.shape
    x, y = torch.randn(columns, 2), torch.randn(rows, 2)
    assert_close((matrix(x) * y).sum(), (x * matrix.adjoint(y)).sum())
    value, tangent = torch.func.jvp(lambda x: Product.apply(x, matrix, False), (x,), (x - 1,))
    assert_close([value, tangent], [matrix(x), matrix(x - 1)])
    (pulled,) = torch.func.vjp(lambda x: Product.apply(x, matrix, False), x)[1](y)
    assert_close(pulled, matrix.adjoint(y))
    several = torch.func.vmap(lambda x: Product.apply(x, matrix, False), in_dims=2)(torch.stack([x, 2 * x], 2))
    assert_close(several, torch.stack([matrix(x), matrix(2 * x)]))
    twice = torch.autograd.functional.hessian(lambda x: Product.apply(x, matrix, False).square().sum() / 2, x[:, :1])
    assert_close(twice[:, 0, :, 0], torch.stack([matrix.adjoint(matrix(one[:, None]))[:, 0] for one in torch.eye(columns)]))


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("oversample", [1, 2])
def test_a_whole_slice_is_seen_as_its_bilinear_field_is_ray_by_ray(beam, oversample):
    whole = scan(beam, oversample)
    spline = Spline(2, 2, [SIZE, SIZE], "linear", fineness=float(oversample)).double()
    torch.nn.init.normal_(spline.coefficients)
    rays = value_and_jacobian(whole.beam.resolving(spline.spacing / 2), Field(spline), whole.rays[None])
    assert_close(value_and_jacobian(whole, Field(spline), whole.rays[None]), rays)
    assert_close(value_and_jacobian(whole, Field(spline), whole.rays[None], along=[0])[1][..., 0], rays[1][..., 0])


@pytest.mark.parametrize("beam", ["parallel", "fan"])
def test_the_error_of_the_lattice_is_of_second_order(beam):
    rays = scan(beam)
    exact = value_and_jacobian(rays.beam.resolving(2 / 4000), Field(waves), rays.rays[None])

    def errors(size):
        found = value_and_jacobian(scan(beam, 1, size), Field(waves), rays.rays[None])
        return [(one - true).square().mean().sqrt() for one, true in zip(found, exact, strict=True)]

    coarse, fine = errors(41), errors(161)
    assert coarse[0] / fine[0] > 12  # a lattice four times as fine
    assert fine[1] < 0.01 * exact[1].square().mean().sqrt()


def test_derivatives_are_central_differences_of_moved_rays():
    whole = scan("parallel", 2)
    values = torch.randn(1, whole.nodes.shape[1], 1)
    seen = value_and_jacobian(whole, Field(lambda points: values), whole.rays[None])[1]
    for axis in (0, 1):
        moved = []
        for step in (1e-6, -1e-6):
            other = scan("parallel", 2)
            other.rays[:, axis] += step
            moved.append(other.product(values, None))
        assert_close(seen[..., axis], (moved[0] - moved[1]) / 2e-6, rtol=1e-4, atol=1e-6)


def test_it_is_linear_in_the_field_and_so_are_its_gradients():
    whole = scan("parallel")
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    one, two = (observe_at(whole, Field(field), whole.rays[None], {"jacobian"}) for field in (net, waves))
    both = observe_at(whole, Field(lambda points: net(points) - 3 * waves(points)), whole.rays[None], {"jacobian"})
    for name in both:
        assert_close(both[name], one[name] - 3 * two[name])
    assert_close(whole.of_constant(whole.rays[None]), whole.beam.of_constant(whole.rays[None]))
    # the parameters' gradients of a loss on value and jacobian, beside those of the beam on the same bilinear field
    spline = Spline(2, 2, [SIZE, SIZE], "linear").double()
    torch.nn.init.normal_(spline.coefficients)
    found = gradients(value_and_jacobian(whole, Field(spline), whole.rays[None]), spline.parameters())
    by_rays = gradients(value_and_jacobian(whole.beam, Field(spline), whole.rays[None]), spline.parameters())
    assert_close(found, by_rays)


def test_other_rays_are_seen_by_the_beam():
    whole, field = scan("fan"), Field(waves)
    some = whole.rays[None, :7]
    assert_close(observe_at(whole, field, some, {"value"}), observe_at(whole.beam, field, some, {"value"}))
    angles = {"angles": torch.linspace(0.3, 2, VIEWS)}
    seen = [observe_at(one.within(**angles), field, whole.rays[None], {"value"})["value"] for one in (whole, whole.beam)]
    assert_close(*seen)
    assert whole.prepare(field, whole.rays[None])[0] is whole
    assert whole.prepare(field, some)[0].one_by_one() is whole.beam.one_by_one()


def test_differences_of_neighbours_cost_no_further_evaluation():
    calls = []
    whole = scan("parallel", 2)
    slope = torch.tensor([[3.0, 0.0], [0.0, -2.0]])

    def plane(points):
        calls.append(points.shape)
        return points @ slope

    seen = observe_at(whole, Field(plane), whole.rays[None], {"value", "jacobian", "differences"})
    assert len(calls) == 1
    pixel = 2 / (SIZE - 1)
    inner = whole.nodes[0].norm(dim=-1) < 0.7
    assert_close(seen["differences"][0, inner], (pixel * slope).expand(int(inner.sum()), 2, 2))
    assert (seen["differences"].abs().amax((0, 1)) <= pixel * slope.abs() + 1e-9).all()
    with pytest.raises(InputError, match=r"need one on which the field is evaluated .*got ParallelBeam"):
        observe_at(whole.beam, Field(plane), whole.rays[None], {"differences"})


def test_refusals_and_size():
    with pytest.raises(InputError, match="1 or 2 cells per pixel, got 3"):
        scan("parallel", 3)
    with pytest.raises(InputError, match="nothing to jitter"):
        WholeSlices(ParallelBeam(jitter=True), BINS, VIEWS, [SIZE, SIZE])
    for oversample in (1, 2):
        found = scan("square", oversample, 30).matrix(None).matrix.nnz
        assert found <= entries(BINS, VIEWS, [30, 30], oversample) * 1.5

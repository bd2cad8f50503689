import math

import pytest
import torch
from torch.testing import assert_close

from inr.errors import InputError
from inr.field import Signals
from inr.networks.activations import Finer, Gabor, Gauss, ReLU, Sine
from inr.networks.fourier import FourierFeatures
from inr.networks.linear import ComplexLinear, Linear
from inr.networks.mlp import MLP
from inr.networks.positional import PositionalEncoding, nyquist_bands

ACTIVATIONS = [Sine, Finer, ReLU, Gauss, Gabor]
POSITIONS = {"first": (2, 4000), "hidden": (100, 90), "last": (4000, 3)}


pytestmark = pytest.mark.usefixtures("float64")


def assert_uniform(weights, bound):
    """Inside +-bound, close to both ends, with the variance of a uniform distribution."""
    assert weights.abs().max() <= bound
    assert weights.max() > 0.95 * bound
    assert weights.min() < -0.95 * bound
    assert_close(weights.var(), torch.tensor(bound**2 / 3), rtol=0.1, atol=0)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("activation", [Sine(30.0), Sine(7.0), Finer(30.0, 5.0), Finer(30.0, None)])
def test_sines_are_initialised_as_published(activation, position):
    inputs, outputs = POSITIONS[position]
    layer = activation.layer(inputs, outputs, position)
    assert_uniform(layer.weight, 1 / inputs if position == "first" else math.sqrt(6 / inputs) / activation.omega)
    spread = getattr(activation, "first_bias", None) if position == "first" else None
    bound = 1 / math.sqrt(inputs) if spread is None else spread
    assert layer.bias.abs().max() <= bound
    assert layer.bias.abs().max() > 0.95 * bound or outputs < 100


def test_sines_keep_the_variance_of_their_phases_from_layer_to_layer():
    """A normal phase of variance v gives a sine of variance (1 - exp(-2 v)) / 2, and weights of variance 2 / (in omega^2)."""
    activation, inputs = Sine(30.0), torch.rand(2000, 2) * 2 - 1
    values = activation(activation.layer(2, 512, "first")(inputs))
    variance = 1.0  # after the first layer, whose phases wrap around: sines of variance a half
    for _ in range(4):
        layer = activation.layer(512, 512, "hidden")
        layer.bias.data.zero_()
        z = layer(values)
        assert_close((30 * z).square().mean(), torch.tensor(variance), rtol=0.1, atol=0)
        values, variance = activation(z), 1 - math.exp(-2 * variance)


@pytest.mark.parametrize("position", POSITIONS)
def test_relu_is_initialised_kaiming_normal(position):
    inputs, outputs = POSITIONS[position]
    layer = ReLU().layer(inputs, outputs, position)
    assert_close(layer.weight.std(), torch.tensor(math.sqrt(2 / inputs)), rtol=0.05, atol=0)
    assert layer.weight.abs().max() > 3 * math.sqrt(2 / inputs)  # no uniform distribution reaches three deviations
    assert layer.bias.abs().max() <= 1 / math.sqrt(inputs)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("activation", [Gauss(), ReLU(normal=False)])
def test_the_others_keep_torch_s_default(activation, position):
    inputs, outputs = POSITIONS[position]
    torch.manual_seed(3)
    layer = activation.layer(inputs, outputs, position)
    torch.manual_seed(3)
    default = torch.nn.Linear(inputs, outputs)
    assert torch.equal(layer.weight, default.weight)
    assert torch.equal(layer.bias, default.bias)


@pytest.mark.parametrize("position", POSITIONS)
def test_wire_is_initialised_as_a_complex_layer_by_parts(position):
    inputs, outputs = POSITIONS[position]
    layer = Gabor().layer(inputs, outputs, position)
    assert layer.weight.shape == (1 if position == "first" else 2, outputs, inputs)
    for part in layer.weight:
        assert_uniform(part, 1 / math.sqrt(inputs))
    assert layer.bias.abs().max() <= 1 / math.sqrt(inputs)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        (Sine(7.0), lambda z: torch.sin(7 * z)),
        (Finer(7.0), lambda z: torch.sin(7 * (z.abs() + 1) * z)),
        (ReLU(), lambda z: z.clamp_min(0)),
        (Gauss(0.3), lambda z: torch.exp(-(z**2) / (2 * 0.3**2))),
    ],
)
def test_activations_are_the_published_formulas(activation, formula):
    z = torch.randn(50, 4)
    assert_close(activation(z), formula(z), rtol=0, atol=1e-13)
    assert_close(activation.value_and_slope(z)[0], activation(z), rtol=0, atol=0)


def complex_parameters(layer):
    """Weight and bias as complex tensors; a part that is not stored is zero."""
    parameters = (layer.weight, layer.bias)
    return [torch.complex(part[0], part[1] if len(part) == 2 else torch.zeros_like(part[0])) for part in parameters]


def wavelet(z, omega, sigma):
    return torch.exp(1j * omega * z - (sigma * z).abs() ** 2)


@pytest.mark.parametrize("hidden_layers", [1, 2, 4])
def test_wire_equals_complex_arithmetic(hidden_layers):
    omega, sigma = 5.0, 1.0
    model = MLP(2, 3, Gabor(omega, sigma), hidden_features=12, hidden_layers=hidden_layers)
    x = torch.rand(1, 40, 2) * 2 - 1

    def network(x):
        z = x.to(torch.complex128)
        for layer in model.layers[::2]:
            weight, bias = complex_parameters(layer)
            z = z @ weight.T + bias
            z = z if layer is model.layers[-1] else wavelet(z, omega, sigma)
        return z.real

    assert network(x).std() > 1e-2
    assert_close(model(x), network(x), rtol=1e-12, atol=1e-12)
    tangents = torch.eye(2)[:, None, None].expand(2, 1, 40, 2)
    slopes = [torch.func.jvp(network, (x,), (tangent,))[1] for tangent in tangents]
    assert_close(model.pushforward(x, tangents)[1], torch.stack(slopes), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("bands", "lowest"), [(1, math.pi), (4, math.pi), (4, 1.0)])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_positional_encoding_is_the_coordinates_and_their_octaves(axes, bands, lowest):
    encoding, x = PositionalEncoding(axes, bands, lowest=lowest), torch.rand(7, axes) * 2 - 1
    encoded = encoding(x)
    waves = [
        wave(2**band * lowest * x[:, axis]) for wave in (torch.sin, torch.cos) for axis in range(axes) for band in range(bands)
    ]
    assert encoded.shape == (7, encoding.out_features) == (7, axes * (1 + 2 * bands))
    assert_close(encoded, torch.cat([x, torch.stack(waves, -1)], -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "bands"),
    [((8,), 1), ((15,), 1), ((16,), 2), ((256, 256), 6), ((64, 512), 4), ((512, 63), 3), ((3, 3), 1), ((1,), 1)],
)
def test_octaves_stay_below_the_nyquist_frequency_of_the_shortest_axis(shape, bands):
    assert nyquist_bands(shape) == bands
    assert PositionalEncoding(2, training_shape=shape).out_features == 2 * (1 + 2 * bands)
    highest, rate = 2 ** (bands - 1) / 2, min(shape) / 2  # periods and samples per unit of [-1, 1]
    assert highest <= rate / 2 or bands == 1
    assert 2**bands * 4 <= min(shape) < 2 ** (bands + 1) * 4 or bands == 1


def test_fourier_features_are_waves_along_normal_directions():
    encoding, x = FourierFeatures(2, 5000, scale=30.0), torch.rand(7, 2)
    phase = x @ encoding.directions.T
    assert encoding(x).shape == (7, encoding.out_features) == (7, 10000)
    assert_close(encoding(x), torch.cat([phase.sin(), phase.cos()], -1), rtol=0, atol=1e-12)
    assert_close(encoding.directions.std(), torch.tensor(30.0), rtol=0.03, atol=0)
    assert not encoding.directions.requires_grad
    assert "directions" in encoding.state_dict()


@pytest.mark.parametrize("encoding", [lambda: None, lambda: FourierFeatures(2, 8, 3.0), lambda: PositionalEncoding(2, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_input_scale_stretches_the_points(activation, encoding):
    torch.manual_seed(1)
    plain = MLP(2, 3, activation(), encoding(), hidden_features=8)
    torch.manual_seed(1)
    stretched = MLP(2, 3, activation(), encoding(), hidden_features=8, input_scale=2.5)
    x, dx = torch.rand(1, 5, 2), torch.randn(2, 1, 5, 2)
    assert_close(stretched(x), plain(2.5 * x))
    assert_close(stretched.pushforward(x, dx), plain.pushforward(2.5 * x, 2.5 * dx))


@pytest.mark.parametrize("hidden_layers", [1, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_parameters_and_layers_are_counted(activation, hidden_layers):
    features, width = 10, 16
    model = MLP(2, 3, activation(), PositionalEncoding(2, 2), hidden_features=width, hidden_layers=hidden_layers)
    between = (hidden_layers - 1) * (width * width + width)
    ends = (features * width + width) + 3
    expected = ends + 3 * width + between if activation is not Gabor else ends + 2 * 3 * width + 2 * between
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert sum(isinstance(module, Linear | ComplexLinear) for module in model.layers) == hidden_layers + 1


def test_wire_of_the_default_width_has_the_parameters_of_a_real_network():
    wire, sine = MLP(2, 3, Gabor(), hidden_features=181), MLP(2, 3, Sine(), hidden_features=256)
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (wire, sine)]
    assert counts[0] == pytest.approx(counts[1], rel=0.02)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sine(0.0), "omega must be positive, got omega=0.0"),
        (lambda: Finer(-1.0), "omega must be positive, got omega=-1.0"),
        (lambda: Sine(math.nan), "omega must be positive, got omega=nan"),
        (lambda: Gauss(0.0), "sigma must be positive, got sigma=0.0"),
        (lambda: Gabor(omega=-2.0), "omega must be positive, got omega=-2.0"),
        (lambda: Gabor(sigma=0.0), "sigma must be positive, got sigma=0.0"),
        (lambda: PositionalEncoding(2, bands=0), "bands >= 1 and lowest > 0, got bands=0"),
        (lambda: PositionalEncoding(2), "or the training_shape"),
        (lambda: FourierFeatures(2, frequencies=0), "frequencies >= 1 and scale > 0, got 0"),
        (lambda: FourierFeatures(2, scale=0.0), "frequencies >= 1 and scale > 0, got 256 and 0.0"),
        (lambda: MLP(2, 3, Sine(), hidden_features=0), "hidden_features and hidden_layers >= 1, got 0, 4"),
        (lambda: MLP(2, 3, Sine(), hidden_layers=0), "hidden_features and hidden_layers >= 1, got 256, 0"),
    ],
)
def test_impossible_options_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("signals", [0, 2])
def test_a_perceptron_represents_one_signal(signals):
    model = MLP(2, 3, Sine(), hidden_features=4)
    with pytest.raises(InputError, match=f"represents one signal, got {signals}"):
        model.field(Signals(torch.zeros(signals, dtype=torch.long)))
    assert model.field(Signals(torch.zeros(1, dtype=torch.long)))(torch.rand(1, 6, 2)).shape == (1, 6, 3)

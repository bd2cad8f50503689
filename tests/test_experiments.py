"""Every experiment file composes; the published protocols say what was published."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from running import composed, tiny_celeba, tiny_cloud, tiny_images, tiny_olivetti
from tiny.captures import forward, generated, write_blender, write_llff
from tiny.signals import CONF, field_of

from conf.command.compose import instantiate_data
from inr.networks.radiance import Cascade

EXPERIMENTS = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix("")) for path in (CONF / "experiment").rglob("*.yaml")
)


def llff(folder):
    """A capture in the layout of LLFF, large enough to be reduced twice."""
    return [f"data.root={write_llff(folder / 'llff', forward(generated(size=48, views=9)))}"]


def blender(folder):
    """A capture in the layout of NeRF's synthetic scenes."""
    return [f"data.root={write_blender(folder / 'blender', generated(size=12, views=6))}"]


def channels(network, axes=3):
    """How many numbers a network gives at a point, at which its coarser field, if there is one, gives as many."""
    if hasattr(network, "experts"):
        return network.experts.shape[1]
    field, points = field_of(network), torch.zeros(1, 1, axes)
    assert field.coarse(points).shape == field(points).shape
    return field(points).shape[-1]


OWN_DATA = {  # of experiments that come without
    "nid/olivetti": tiny_olivetti,
    "nid/inpainting": tiny_olivetti,
    "nid/celeba": tiny_celeba,
    "nid/faces": lambda folder: [*tiny_images(folder), "data.size=64", "data.held_out=2"],
    "siren/pointcloud": lambda folder: [tiny_cloud(folder)],
    "nerf/blender": blender,
    "sobolev/llff": llff,
    "sobolev/llff_sine": llff,
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_composes_and_its_network_fits_its_data(experiment, tmp_path):
    files = OWN_DATA.get(experiment, lambda folder: [])(tmp_path)
    cfg = composed(tmp_path / "run", f"experiment={experiment}", *(word for word in files if word != "data=images"))
    data = instantiate_data(cfg)
    data.setup()
    OmegaConf.to_container(cfg, resolve=True)
    network = instantiate(cfg.model)
    assert channels(network, cfg.data.in_features + 3 * network.directions) == cfg.data.out_features


@pytest.mark.parametrize(
    "experiment", ["sobolev/set5", "sobolev/set5_stencil", "sobolev/audio", "nid/celeba", "nid/inpainting"]
)
def test_what_was_published_at_a_constant_rate_stays_so(experiment, tmp_path):
    cfg = composed(tmp_path, f"experiment={experiment}")
    assert cfg.scheduler._target_ == "inr.optimisers.schedules.Constant"


def test_dictionary_protocol(tmp_path):
    cfg = composed(tmp_path / "run", "experiment=nid/celeba", *tiny_celeba(tmp_path))
    instantiate_data(cfg)
    assert (cfg.model.experts, cfg.model.top_k, cfg.model.trunk.hidden_features) == (4096, 256, 512)
    assert (cfg.model.trunk.encoding.frequencies, cfg.model.trunk.encoding.scale) == (1024, 256.0)
    assert (cfg.data.size, cfg.data.patch_size, cfg.data.batch_signals, cfg.optimizer.lr) == (128, 16, 256, 1e-4)
    assert cfg.model.penalties.balance.published


def test_image_protocol(tmp_path):
    cfg = composed(tmp_path, "experiment=sobolev/set5")
    assert (cfg.data.factor, cfg.data.offset, cfg.data.filter, cfg.data.border) == (4, 0, "sobel", "replicate")
    assert (cfg.data.points, cfg.optimizer.lr, cfg.trainer.max_steps) == (None, 1e-4, 50000)
    assert (cfg.model.activation.omega, cfg.model.hidden_features, cfg.model.hidden_layers) == (30, 256, 4)
    positional = composed(tmp_path, "experiment=sobolev/set5", "model=relu", "supervision=val")
    instantiate_data(positional)
    assert instantiate(positional.model).layers[0].out_features == 2 * (1 + 2 * 5)


def test_audio_protocol(tmp_path):
    cfg = composed(tmp_path, "experiment=sobolev/audio")
    assert (cfg.data.factor, cfg.data.filter, cfg.data.points) == (5, "central", None)
    assert (cfg.model.input_scale, cfg.optimizer.lr, cfg.trainer.max_steps) == (100, 5e-5, 8000)


def test_the_third_arm_reads_what_the_stencils_read(tmp_path):
    cfg = composed(tmp_path, "experiment=sobolev/set5_stencil")
    assert (cfg.data.train_pixels, cfg.data.filter, cfg.data.factor, cfg.optimizer.lr) == ("stencil", "sobel", 4, 1e-4)
    assert list(cfg.supervision.terms) == ["value"]


def test_inverse_rendering_protocol(tmp_path):
    cfg = composed(tmp_path / "run", "experiment=sobolev/llff", *llff(tmp_path))
    data = instantiate_data(cfg)
    assert (cfg.data.factor, cfg.data.downscale, cfg.data.points, cfg.data.pixel_centre) == (4, 4, 1024, 0)
    assert (cfg.data.filter, cfg.data.border, cfg.data.ndc, cfg.data.hold_every) == ("sobel", "replicate", True, 8)
    assert data.trained.captures[0].size == (12, 12)
    camera = cfg.task.measurements.data
    assert (camera.samples, camera.importance, camera.density, camera.scale) == (128, 0, "relu", 1)
    assert (camera.noise, camera.open_end, camera.near, camera.far) == (1, True, 0, 1)
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("inr.optimisers.adam.Adam", 5e-4)
    assert (cfg.scheduler.decay, cfg.scheduler.decay_steps, cfg.trainer.max_steps) == (0.1, 250000, 400000)
    assert (cfg.model.hidden_features, cfg.model.hidden_layers) == (256, 8)
    assert (cfg.model.encoding.bands, cfg.model.encoding.lowest) == (10, 1)
    network = instantiate(cfg.model)
    widths = [layer.out_features for layer in network.layers if hasattr(layer, "out_features")]
    assert widths == [3 * (1 + 2 * 10), *[256] * 8, 4]


def test_inverse_rendering_with_sines_differs_in_its_activation_alone(tmp_path):
    files = llff(tmp_path)
    relu, sine = (composed(tmp_path / name, f"experiment=sobolev/{name}", *files) for name in ("llff", "llff_sine"))
    assert (sine.model.activation.omega, sine.model.activation.siren) == (1, False)
    assert sine.model.activation._target_ == "inr.networks.activations.Sine"
    for group in ("task", "data", "supervision", "optimizer", "scheduler", "trainer"):
        assert OmegaConf.to_container(relu[group], resolve=False) == OmegaConf.to_container(sine[group], resolve=False)
    for option in ("encoding", "hidden_features", "hidden_layers"):
        assert relu.model[option] == sine.model[option]
    instantiate_data(sine)
    assert channels(instantiate(sine.model)) == 4


def test_radiance_field_protocol(tmp_path):
    cfg = composed(tmp_path / "run", "experiment=nerf/blender", *blender(tmp_path))
    instantiate_data(cfg)
    assert (cfg.data.bound, cfg.data.pixel_centre, cfg.data.points) == (None, 0, 1024)
    assert (cfg.data.near, cfg.data.far, cfg.data.background, cfg.data.directions) == (2, 6, "white", True)
    assert not cfg.task.measurements.data.box
    cameras = cfg.task.measurements
    assert (cameras.data.samples, cameras.data.importance, cameras.coarse.samples) == (64, 128, 64)
    assert (cameras.data.density, cameras.data.scale, cameras.data.open_end) == ("relu", 1, True)
    assert cameras.coarse.proposal
    assert not cameras.data.get("proposal", False)
    assert {name: (term.part, term.quantity, term.weight) for name, term in cfg.supervision.terms.items()} == {
        "value": ("data", "value", 1),
        "coarse": ("coarse", "value", 1),
    }
    assert list(cfg.data.parts) == ["data", "coarse"]
    assert (cfg.optimizer.lr, cfg.trainer.max_steps) == (5e-4, 200000)
    assert isinstance(instantiate(cfg.model), Cascade)
    for network in (cfg.model.coarse, cfg.model.fine):
        assert (network.hidden_features, network.trunk.hidden_features, network.trunk.hidden_layers) == (128, 256, 8)
        assert (network.trunk.encoding.bands, network.encoding.bands) == (10, 4)
        assert network.trunk.skip == 5

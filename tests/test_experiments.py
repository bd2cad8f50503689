"""Every experiment file composes; the published protocols say what was published."""

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from running import composed, tiny_celeba, tiny_images, tiny_olivetti
from signals import CONF

from conf.compose import instantiate_data

EXPERIMENTS = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix("")) for path in (CONF / "experiment").rglob("*.yaml")
)
OWN_DATA = {  # of experiments that come without
    "nid/olivetti": tiny_olivetti,
    "nid/inpainting": tiny_olivetti,
    "nid/celeba": tiny_celeba,
    "nid/faces": lambda folder: [*tiny_images(folder), "data.size=64", "data.held_out=2"],
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_composes_and_its_network_fits_its_data(experiment, tmp_path):
    files = OWN_DATA.get(experiment, lambda folder: [])(tmp_path)
    cfg = composed(tmp_path / "run", f"experiment={experiment}", *(word for word in files if word != "data=images"))
    data = instantiate_data(cfg)
    data.setup()
    OmegaConf.to_container(cfg, resolve=True)
    network = instantiate(cfg.model)
    channels = network.experts.shape[1] if hasattr(network, "experts") else network.layers[-1].out_features
    assert channels == cfg.data.out_features


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
    positional = composed(tmp_path, "experiment=sobolev/set5", "model=positional", "supervision=val")
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

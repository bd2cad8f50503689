"""The training step, as Lightning runs it."""

from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from running import tiny_image
from torch.testing import assert_close

from datamodules.grids.image import ImageData
from inr.derivatives import value_and_jacobian
from inr.field import Signals
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import Sine
from inr.networks.mlp import MLP
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision
from tasks.base import Training
from tasks.image import ImageTask

TERMS = {"value": SquaredError(), "jacobian": SquaredError(quantity="jacobian", reduction="sum_axes")}


@pytest.fixture
def parts(tmp_path):
    torch.manual_seed(0)
    data = ImageData(path=str(tiny_image(tmp_path)), factor=2)
    network = MLP(2, 3, Sine(), hidden_features=16, hidden_layers=2)
    training = Training(network, Supervision(TERMS), partial(torch.optim.Adam, lr=1e-3))
    return ImageTask(training, {"data": Pointwise([24, 24])}, channels=3), data


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(accelerator="cpu", inference_mode=False, use_distributed_sampler=False, **quiet, **options)


def test_the_step_is_the_sum_of_the_terms_and_penalties(parts):
    task, data = parts
    data.setup()
    batch = data.trained.batch(data.train_samples, ("value", "jacobian"))
    targets, coordinates = batch.parts["data"].targets, batch.parts["data"].coordinates
    value, jacobian = value_and_jacobian(task.measurements["data"], task.network.field(batch.signals), coordinates)
    expected = (value - targets["value"]).square().mean() + (jacobian - targets["jacobian"]).square().sum((-1, -2)).mean()
    fit = trainer(max_steps=1, max_epochs=-1, limit_val_batches=0, log_every_n_steps=5)
    losses = []
    fit.callbacks.append(LambdaCallback(on_train_batch_end=lambda *seen: losses.append(seen[2]["loss"])))
    fit.fit(task, data)
    assert_close(losses[0], expected.detach())


def test_derivatives_exist_inside_validate(parts):
    task, data = parts
    at = 23 * torch.rand(1, 9, 2)
    signals = Signals(torch.zeros(1, dtype=torch.long))
    expected = value_and_jacobian(task.measurements["data"], task.network.field(signals), at)[1]
    seen = []

    def differentiate(trainer, module, *_):
        seen.append(value_and_jacobian(module.measurements["data"], module.network.field(signals), at)[1])

    trainer(callbacks=[LambdaCallback(on_validation_batch_end=differentiate)]).validate(task, data, verbose=False)
    assert_close(seen[0], expected)


def test_evaluation_computes_no_derivative_targets(parts):
    task, data = parts
    seen = []

    def look(trainer, module, outputs, batch, *_):
        seen.append(set(batch.parts["data"].targets))

    fit = trainer(max_steps=1, max_epochs=-1, val_check_interval=1, check_val_every_n_epoch=None, num_sanity_val_steps=0)
    fit.callbacks.append(LambdaCallback(on_train_batch_end=look, on_validation_batch_end=look))
    data.points = 20
    fit.fit(task, data)
    assert seen == [{"value", "jacobian"}, set()]

"""A training step queues its work and never waits for the device: neither for numbers of it, nor for copies to and from it.

Tensors of the device `meta` stand for those of a GPU: they have no numbers, so whatever asks for one raises, and every copy
between them and the CPU is seen.
"""

from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from running import QUICK, STEPS, collection, run, small, tiny
from tiny.signals import ANYWHERE, TASKS
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from inr.errors import InputError
from tasks.base import INRTask
from tasks.callbacks import FiniteLoss

META = torch.device("meta")
RARELY = "trainer.log_every_n_steps=50"  # whose steps may wait


NUMBERS = torch.ops.aten.to.dtype_layout  # how a number of the program meets a tensor under vmap: of a kernel an argument


class OneDevice(TorchDispatchMode):
    """Refuses whatever reads from one device and writes to another."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is NUMBERS and args[0].dim() == 0:
            return result
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        assert len(devices) < 2, f"{function} with shapes {[tuple(tensor.shape) for tensor in tensors]} on {devices}"
        return result


class NoLists(TorchFunctionMode):
    """Refuses lists that become tensors on a device, behind the back of `OneDevice`: as an index, or by `torch.tensor`."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        indices = args[1] if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) else ()
        indices = indices if isinstance(indices, tuple) else (indices,)
        assert function not in (torch.tensor, torch.as_tensor), f"{function} of {args}"
        assert not any(isinstance(index, list) for index in indices), f"the list {indices} as an index"
        return function(*args, **(kwargs or {}))


class StepEndedError(Exception):
    """The end of a run that has taken the step that it was started for."""


def on_meta(value):
    """A batch, or a part of one, with all its tensors on the device without numbers."""
    if isinstance(value, torch.Tensor):
        return value.to(META)
    if isinstance(value, dict):
        return {name: on_meta(one) for name, one in value.items()}
    return (
        replace(value, **{one.name: on_meta(getattr(value, one.name)) for one in fields(value)})
        if is_dataclass(value)
        else value
    )


@pytest.fixture
def step_on_meta(monkeypatch):
    """Runs take one step on the device without numbers, forward and backward, and end there."""

    def take(loop):
        task, data = loop.trainer.lightning_module, loop.trainer.datamodule
        batch = on_meta(data.training_batch(next(data.training_draws(0)), torch.device("cpu")))
        task.to(META)
        try:
            task.training_step(batch, 0)  # what is made once, such as constants, is made here
            with NoLists(), OneDevice():
                task.training_step(batch, 0)["loss"].backward()
        finally:
            task.to_empty(device="cpu")  # where Lightning wants it at the end
        raise StepEndedError

    monkeypatch.setattr("lightning.pytorch.loops.fit_loop._FitLoop.run", take)
    monkeypatch.setattr(torch, "autocast", lambda *_, **options: nullcontext())  # which knows no such device
    monkeypatch.setattr("inr.randomness.generator", lambda *_: None)  # neither do generators


VARIANTS = {
    "values": ["supervision=val"],
    "derivatives": ["supervision=val_der"],
    "axis": ["supervision=val_der", "supervision.terms.jacobian.axes=[0]"],
    "direction": ["supervision=val_der", "supervision.directions=random"],
    "tv": ["supervision=val", "penalty=tv"],
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("task", TASKS)
def test_a_step_waits_for_nothing(task, variant, step_on_meta, tmp_path):
    words = [*tiny(task, tmp_path), *small("sine"), *QUICK, *VARIANTS[variant], "data.points=32", RARELY]
    with pytest.raises(StepEndedError):
        run(tmp_path / "run", *words)


@pytest.mark.parametrize("model", ANYWHERE)
def test_no_model_waits(model, step_on_meta, tmp_path):
    words = [*tiny("image", tmp_path), *small(model), *STEPS, "supervision=val_der", "data.points=32", RARELY]
    with pytest.raises(StepEndedError):
        run(tmp_path / "run", *words)


OTHERS = {
    "importance": ["nerf", "task.measurements.data.importance=4", "task.measurements.data.noise=1.0"],
    "disparity": ["nerf", "task.measurements.data.spacing=disparity", "task.measurements.data.near=0.5"],
    "radiance": ["nerf", *small("radiance")],
    "jitter": ["ct", "data.jitter=true", "data.points=32"],
    "nonnegative": ["ct", "data.points=32", "penalty=nonnegative"],
    "eikonal": ["sdf", "data.points=32", "penalty=eikonal"],
    "off_surface": ["sdf", "data.points=32", "penalty=off_surface"],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_no_option_waits(kind, step_on_meta, tmp_path):
    task, *words = OTHERS[kind]
    given = [*tiny(task, tmp_path), *([] if kind == "radiance" else small("sine")), *STEPS, *words, RARELY]
    with pytest.raises(StepEndedError):
        run(tmp_path / "run", *given)


@pytest.mark.parametrize("task", TASKS)
def test_no_dictionary_waits(task, step_on_meta, tmp_path):
    words = [*collection(task, tmp_path), "supervision=val_der", *small("nid_moe"), "regime=dictionary", *STEPS, RARELY]
    with pytest.raises(StepEndedError):
        run(tmp_path / "run", *words)


def test_whole_slices_are_known_again_without_comparing_numbers(tmp_path, monkeypatch):
    compared, step = [], INRTask.training_step

    def spied(self, batch, place):
        with monkeypatch.context() as spying:
            spying.setattr(torch, "equal", lambda one, other, equal=torch.equal: compared.append(place) or equal(one, other))
            return step(self, batch, place)

    monkeypatch.setattr(INRTask, "training_step", spied)
    words = [*tiny("ct", tmp_path), *small("sine"), *STEPS, "supervision=val_der", "data.points=null", "trainer.max_steps=5"]
    run(tmp_path / "run", *words)
    assert compared == [0]


def term(value):
    return {"value": torch.tensor(value), "loss": torch.tensor(value)}


def test_terms_on_a_gpu_are_checked_together_and_none_that_broke_is_missed(monkeypatch):
    module, read = SimpleNamespace(device=torch.device("cuda")), []
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self, plain=torch.Tensor.tolist: read.append(len(self)) or plain(self))
    finite, trainer = FiniteLoss(every=5), SimpleNamespace(global_step=0)

    def take(value):
        trainer.global_step += 1
        with OneDevice():
            finite.on_train_batch_end(trainer, module, term(value), None, 0)

    for _ in range(9):
        take(1.0)
    assert read == [5 * 2]  # one copy, of all terms of five steps
    finite.on_save_checkpoint(trainer, module, {})
    assert read == [5 * 2, 4 * 2]
    take(1.0)
    take(float("nan"))
    take(1.0)
    with pytest.raises(InputError, match="value is nan at step 11"):
        finite.on_save_checkpoint(trainer, module, {})
    for value in (float("inf"), 1.0, 1.0, 1.0):
        take(value)
    with pytest.raises(InputError, match="at step 13"):
        take(1.0)


def test_on_a_cpu_a_broken_loss_ends_the_training_at_once():
    finite, module = FiniteLoss(), SimpleNamespace(device=torch.device("cpu"))
    finite.on_train_batch_end(SimpleNamespace(global_step=1), module, term(1.0), None, 0)
    with pytest.raises(InputError, match="value is inf at step 2"):
        finite.on_train_batch_end(SimpleNamespace(global_step=2), module, term(float("inf")), None, 0)

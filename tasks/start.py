"""Start a network from the field of an earlier run, such as a solved spline, before training goes on with the data."""

import math

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.functional import mse_loss

from inr.convex.problem import ConvexSolver
from inr.errors import InputError
from inr.field import Signals
from inr.optimisers.parameters import Parameters
from inr.randomness import generator, key
from inr.saved.fitted_field import FittedField
from inr.saved.runs import load
from tasks.base import INRTask

FIRST = torch.zeros(1, dtype=torch.long)  # the one signal


class Start(Callback):
    """Fit the network to the field of a run, at random points of [-1, 1]^in_features, before the first step of training.

    The optimiser and its rates are those of the training, which then begins anew; a run that is resumed has it all behind it.
    run:    a run folder, a checkpoint, or an exported field.safetensors, of the same kind of data; None: nothing is done.
    steps:  of this fit, with rates that fall to zero as half a cosine.
    points: of a step.
    Raises: InputError for a field of other axes or channels, directions of view, several signals, and solvers that take no
            steps.
    """

    def __init__(
        self,
        run: str | None = None,
        in_features: int = 2,
        steps: int = 200,
        points: int = 8192,
        solver: ConvexSolver | None = None,
        seed: int = 0,
    ) -> None:
        for name, count in (("steps", steps), ("points", points)):
            if count < 1:
                raise InputError(f"regime.callbacks.start.{name} must be at least 1, got {count}.")
        if run is not None and solver is not None and solver.closed_form:
            rule = "A field is found by a solver, or it starts from another (start=RUN) and is trained"
            raise InputError(f"{rule}, got solver={type(solver).__name__} and start={run}; leave one of them out.")
        self.run, self.in_features = run, in_features
        self.steps, self.points = steps, points
        self.seed = key(seed, "start")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Fit the network, unless its weights come from a checkpoint."""
        if self.run is None or trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, INRTask)
        field = load(self.run)
        self.check(pl_module, field)
        # Lightning's loops, which would count these steps, have not begun
        with torch.enable_grad():
            self.fit(pl_module, field)

    def check(self, task: INRTask, field: FittedField) -> None:
        """Raise InputError for a field that cannot be this network's."""
        rule = f"start={self.run} must hold the field of one signal over {self.in_features} axes, without directions of view"
        if len(task.data.trained) != 1 or task.network.directions or field.network.directions:
            raise InputError(f"{rule}; leave start out, or choose one signal by regime.signals=[0].")
        nonlinear = [type(sensor).__name__ for sensor in task.sensors.values() if not sensor.linear]
        if nonlinear:
            seen = f"start={self.run} needs a sensor that is linear in the field, whose values are then numbers of the file"
            raise InputError(f"{seen}, got {nonlinear[0]}; leave start out.")
        point = torch.zeros(1, self.in_features)
        try:
            channels = field.at_points(point).shape[-1]
        except (RuntimeError, ValueError, IndexError) as error:
            raise InputError(f"{rule}, got {field.axes} axes; use a run on data of this kind.") from error
        wanted = self.seen(task, point.to(task.device)).shape[-1]
        if channels != wanted:
            raise InputError(
                f"start={self.run} must have {wanted} channels as these data have, got {channels}; use another run."
            )

    def fit(self, task: INRTask, field: FittedField) -> None:
        """Take the steps."""
        optimizer = task.make_optimizer(Parameters(task.network))
        rates = [group["lr"] for group in optimizer.param_groups]
        for step in range(self.steps):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * step / self.steps)) / 2
            uniform = torch.rand(self.points, self.in_features, generator=generator(self.seed, step, "points"))
            points = 2 * uniform - 1
            target = task.data.normalise(field.at_points(points)).to(task.device)
            optimizer.zero_grad()
            with task.trainer.precision_plugin.forward_context():
                loss = mse_loss(self.seen(task, points.to(task.device)).float(), target)
            loss.backward()
            optimizer.step()
        optimizer.zero_grad()

    @staticmethod
    def seen(task: INRTask, points: Tensor) -> Tensor:
        """Return the values (points, channels) of the network."""
        return task.network.field(Signals(FIRST.to(points.device)))(points[None])[0]

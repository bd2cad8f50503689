from types import SimpleNamespace

import pytest

from tasks.callbacks import FitTimer

TRAINER = SimpleNamespace(lightning_module=None)


@pytest.mark.parametrize("steps", [0, 1])
def test_the_timer_counts_whole_fits_of_all_resumed_runs(monkeypatch, steps):
    clock = [100.0]
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time.monotonic", lambda: clock[0])
    saved = None
    for run in (1, 2, 3):
        timer = FitTimer()
        if saved is not None:
            timer.load_state_dict(saved)
        timer.on_fit_start(TRAINER, None)
        clock[0] += 5  # closed-form solvers are at work here
        if steps:
            timer.on_train_start(TRAINER, None)
            clock[0] += 1
            timer.on_train_end(TRAINER, None)
        clock[0] += 0.5
        timer.on_fit_end(TRAINER, None)
        clock[0] += 1000  # the test
        saved = timer.state_dict()
        assert timer.time_elapsed() == run * (5.5 + steps)

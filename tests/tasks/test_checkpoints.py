"""Checkpoints: the last one is there before the best one is."""

import pytest
from running import QUICK, assert_same_run, checkpoint, run, tiny_image

from tasks import checkpoints


class Killed(BaseException):
    """The end of the process."""


def test_a_kill_between_the_two_files_leaves_a_run_that_can_go_on(tmp_path, monkeypatch):
    options = [f"data.path={tiny_image(tmp_path)}", *QUICK, "trainer.val_check_interval=3", "trainer.max_steps=6"]
    write = checkpoints.write_whole

    def killed(target, content):
        if target.name == checkpoints.BEST:
            raise Killed
        write(target, content)

    monkeypatch.setattr(checkpoints, "write_whole", killed)
    with pytest.raises(Killed):
        run(tmp_path / "killed", *options)
    monkeypatch.undo()
    assert checkpoint(tmp_path / "killed")["global_step"] == 3
    whole = run(tmp_path / "whole", *options)
    assert_same_run(whole, run(tmp_path / "resumed", f"ckpt_path={tmp_path / 'killed'}"))
    assert checkpoint(whole, "best")["global_step"] in (3, 6)


def test_an_unfinished_file_does_not_stay(tmp_path):
    checkpoints.write_whole(tmp_path / "last.ckpt", b"first")
    with pytest.raises(Exception, match="bytes-like"):
        checkpoints.write_whole(tmp_path / "last.ckpt", "text")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("last.ckpt", b"first")]

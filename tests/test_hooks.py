from pathlib import Path

from conf.command.hooks import unused


def test_two_runs_in_one_second_get_two_folders(tmp_path):
    folders = [Path(unused(str(tmp_path / "run"))) for _ in range(3)]
    assert [folder.name for folder in folders] == ["run", "run_2", "run_3"]
    assert all(folder.is_dir() for folder in folders)

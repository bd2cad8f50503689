"""What the README shows works as it stands there."""

import re
import shlex
from typing import Any

import pytest
import torch
from running import composed
from test_architecture import ROOT

from conf.command.check import find_target
from conf.command.compose import plain, targets

README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"python train\.py (.+?)(?:`|\s+#|\n)", README)))
OTHERS = ("--help", "...", "data=rings")  # the last one is `test_recipes`'


@pytest.mark.parametrize("command", [command for command in COMMANDS if not any(part in command for part in OTHERS)])
def test_every_command_composes(command, tmp_path):
    first_of_each = [re.sub(r"=([^,]+),.*", r"=\1", word) for word in shlex.split(command) if word != "-m"]
    for target in targets(plain(composed(tmp_path, *first_of_each), resolve=False)):
        assert callable(find_target("_target_", target))


def test_fitting_without_the_command_line_works():
    (code,) = re.findall(r"```python\n(import torch.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), names)
    assert names["loss"].item() < 1e-3


def test_every_choice_is_in_the_table_of_options():
    groups = "task model model/coder supervision regime solver penalty optimizer scheduler trainer logger export debug"
    for file in (file for group in groups.split() for file in (ROOT / "conf" / group).glob("*.yaml")):
        assert re.search(rf"\b{file.stem}\b", README), file

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from pathlib import Path
from inr.saved.fitted_field import FittedField
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import Sine
from inr.networks.mlp import MLP

def peak():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

network = MLP(2, 3, Sine(), hidden_features=16, hidden_layers=2)
for shape in ([300, 400], [3000, 4000]):
    samples = sum(len(slab) for slab in FittedField(network, Pointwise(shape), axes=2).rows(shape))
    assert samples == shape[0]
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from Linux' /proc")
def test_memory_does_not_grow_with_the_grid():
    result = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    small, large = map(float, result.stdout.split())
    assert large - small < 100  # MiB, for a hundred times as many pixels

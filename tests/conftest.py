"""Shape annotations of `inr` are checked at run time in every test; law tests run in float64."""

import jaxtyping
import pytest
import torch

with jaxtyping.install_import_hook("inr", "typechecking.check"):
    import inr  # noqa: F401

torch.set_num_threads(1)  # tests run side by side


@pytest.fixture
def float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)

"""Shape annotations of `inr` are checked at run time in every test."""

import jaxtyping

with jaxtyping.install_import_hook("inr", "typechecking.check"):
    import inr  # noqa: F401

import torch

torch.set_num_threads(1)  # tests run side by side

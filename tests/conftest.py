"""Shape annotations of `inr` are checked at run time in every test."""

import jaxtyping

with jaxtyping.install_import_hook("inr", "typechecking.check"):
    import inr  # noqa: F401

"""Coordinate networks: fields, what sensors observe of them, and their derivatives."""

from inr.derivatives import value_and_jacobian
from inr.errors import InputError
from inr.field import Field, Signals
from inr.saved.runs import load

__all__ = ["Field", "InputError", "Signals", "load", "value_and_jacobian"]

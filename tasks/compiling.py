"""The rule of `compile=auto`: whether a training is long enough to win back the time that compiling takes."""

import os
import shutil
from typing import NamedTuple

import torch

from inr.field import Network

# Measured (benchmarks/README.md, What a training step costs); of a GPU nothing is measured, and a guess errs to the long side.
COMPILING = 60.0  # [s] a run compiles for at most, what validations, the test and derivative maps need included
SAVED = {False: 0.12, True: 0.35}  # share of a step that compiled code saves, in float32 and in 16 bits
RATES = {False: 7e10, True: 1.7e11}  # [1/s] operations of an eager step on each thread of a CPU
GPU = 1e13  # [1/s] operations of an eager step on a GPU
PASSES = 6  # operations per weight and point: a product and a sum, forward once, backward by the features and by the weights
COMPILERS = ("g++", "clang++", "c++")


class Work(NamedTuple):
    """The extent of a training.

    points:  at which the field is evaluated in a step, tangents counted like points.
    steps:   that it takes; -1: another rule ends it.
    seconds: after which a clock ends it; None: there is none.
    half:    matrix products are in 16 bits.
    """

    points: int
    steps: int
    seconds: float | None
    half: bool

    def duration(self, network: Network, device: torch.device) -> float:
        """Estimate the seconds that it takes uncompiled, by the options and the number of threads alone; 0 if nobody knows."""
        if self.steps < 0 and self.seconds is None:
            return 0.0
        weights = sum(matrix.numel() for matrix in network.groups()["hidden"])
        rate = GPU if device.type == "cuda" else RATES[self.half] * torch.get_num_threads()
        of_steps = self.steps * PASSES * weights * self.points / rate if self.steps >= 0 else float("inf")
        return min(of_steps, float("inf") if self.seconds is None else self.seconds)


def pays(work: Work, network: Network, device: torch.device) -> bool:
    """Return True if what compiled steps save exceeds the time of compiling, and this machine can compile.

    Tables of explicit fields are no matrices, and what is kept of them for repeated points would be lost: never.
    """
    groups = network.groups()
    if groups["tables"] or not groups["hidden"] or (device.type == "cpu" and not has_compiler()):
        return False
    return SAVED[work.half] * work.duration(network, device) >= COMPILING


def has_compiler() -> bool:
    """Return True if there is a C++ compiler, which code for a CPU needs."""
    named = os.environ.get("CXX")
    return any(map(shutil.which, [named] if named else COMPILERS))

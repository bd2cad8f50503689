"""What a process has to know of the others."""

import torch.distributed as dist
from torch import Tensor


def together() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized()


def ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if together() else 1


def rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if together() else 0


def global_sum(x: Tensor) -> Tensor:
    """The sum over all processes, without gradient."""
    x = x.detach().clone()
    if together():
        dist.all_reduce(x)
    return x

"""The other processes of a training that runs in several."""

import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Return True while several processes train together."""
    return dist.is_available() and dist.is_initialized()


def ranks() -> int:
    """Count the processes that train together."""
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Return this process's number among them, 0 .. ranks() - 1."""
    return dist.get_rank() if is_distributed() else 0


def global_sum(x: Tensor) -> Tensor:
    """Sum over all processes, without gradient."""
    x = x.detach().clone()  # all_reduce writes into its argument
    if is_distributed():
        dist.all_reduce(x)
    return x

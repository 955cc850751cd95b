"""Rank, size and gathering: one process a device, no-ops when there is one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

# A rank that waits longer than this for another one gives up, and the job with it.
TIMEOUT = timedelta(minutes=10)


def rank() -> int:
    """This process's number, 0 when there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Stack every rank's tensor: ``(…)`` to ``(size, …)``.  Carries no gradient."""
    tensor = tensor.detach()
    if size() == 1:
        return tensor[None]
    gathered = tensor.new_empty(size(), *tensor.shape)
    dist.all_gather(list(gathered), tensor.contiguous())
    return gathered


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes that ``torchrun`` started, if it did: NCCL on GPUs, else gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """The device of this process: ``cpu``, ``cuda``, or ``auto`` (a GPU where there is one)."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device

"""Rank, size and gathering: one process a device, no-ops when there is one process."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from cyborgs.common.errors import LostPeerError

# A rank that waits longer than this for another one gives up, and the job with it.
TIMEOUT = timedelta(minutes=10)

# How gloo and NCCL say that a collective did not come to its end; gloo has no error of its own.
_BROKEN = re.compile(r"gloo|Connection (closed|reset)|NCCL|[Tt]imed out")


T = TypeVar("T")


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


def gather_objects(one: Any) -> list[Any]:
    """Every rank's object, in the order of ranks.  They must be picklable."""
    if size() == 1:
        return [one]
    gathered: list[Any] = [None] * size()
    dist.all_gather_object(gathered, one)
    return gathered


def agree(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` is set in any process."""
    return bool(gather(torch.tensor(int(flag), device=device)).any())


def in_step(items: Iterable[T], shared: int, every: int, device: torch.device) -> Iterator[T]:
    """Pass items on, and wait for the other ranks now and then: who lags far behind seems lost.

    Args:
        items: of this rank, at least ``shared``.
        shared: how many items every rank has.
        every: after this many of them the ranks wait for one another.
        device: of this process.
    """
    for number, item in enumerate(items, start=1):
        yield item
        if number <= shared and number % every == 0:
            gather(torch.zeros((), device=device))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes of this job, if there are any: NCCL on GPUs, else gloo.

    Raises `LostPeerError` where another one ended or did not answer within ten minutes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        yield
    except RuntimeError as error:
        # Not destroyed where it is broken: that could wait for processes that are gone.
        if not isinstance(error, dist.DistError) and not _BROKEN.search(str(error)):
            raise
        raise LostPeerError(
            "lost another process (see its message): "
            + " ".join(str(error).split("\n")[0].split())[:160]
        ) from None
    dist.destroy_process_group()

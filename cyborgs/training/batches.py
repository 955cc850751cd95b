"""Batches of training: which samples make a step, and the processes that load them.

Which samples make a step depends on the seed, the epoch and the step alone.  Ranks and workers only
share out the work.
"""

import atexit
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from cyborgs.common.errors import InputError, LoaderError
from cyborgs.common.seeding import generator
from cyborgs.runtime.signals import leave_signals_to_parent


class Steps(Sampler[list[tuple[int, int]]]):
    """The samples of every step, for one rank.

    An epoch is a seeded permutation of the images, cut into steps of ``batch_size``; what is
    left over at its end is left out.  Of each step, a rank takes a contiguous part.  Where images
    have no mask, the permutation is of those that have, and begins anew at its end: an epoch
    has as many steps in each round.

    Args:
        images: number of images in the index.
        drawn: positions of those that are drawn, rising.
        batch_size: images of a step, over all ranks.
        first, last: global steps (counted from 0 over all rounds) to begin at and to stop
            before.
        seed: of the permutations.
        rank, ranks: whose part.
    """

    def __init__(
        self,
        images: int,
        drawn: NDArray[np.int64],
        *,
        batch_size: int,
        first: int,
        last: int,
        seed: int,
        rank: int,
        ranks: int,
    ) -> None:
        self._images = images
        self._positions = drawn
        self._batch = batch_size
        self._first, self._last = first, last
        self._seed = seed
        self._rank, self._ranks = rank, ranks

    def __len__(self) -> int:
        return self._last - self._first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        steps_per_epoch = self._images // self._batch
        share = self._batch // self._ranks
        current, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self._first, self._last):
            epoch, within = divmod(step, steps_per_epoch)
            if epoch != current:
                order = generator(self._seed, "order", epoch).permutation(self._positions)
                order = np.resize(order, self._images)
                current = epoch
            begin = within * self._batch + self._rank * share
            yield [(epoch, int(position)) for position in order[begin : begin + share]]


# Seconds between checks for signals and dead loader processes while waiting for a batch.
_LOOK = 5

# How DataLoader says that no batch has come in time.
_TIMED_OUT = "DataLoader timed out"

# Signs of faults of the machine in what DataLoader or a loader process says, and what to do.
_SHARED_MEMORY = "/dev/shm is full; enlarge it (docker: --shm-size), or lower {workers}"

_DESCRIPTORS = "raise the limit of open files (ulimit -n), or lower {workers}"

_FAULTS = {
    "AF_UNIX": "the path TMPDIR, {tmpdir}, is too long; set a shorter one, or {workers} to 0",
    "SIGBUS": _SHARED_MEMORY,
    "shared memory": _SHARED_MEMORY,
    "No space left": _SHARED_MEMORY,
    "open files": _DESCRIPTORS,
    "ancdata": _DESCRIPTORS,
    "SIGKILL": "memory may be full; lower {workers}, or give the job more",
}

_OTHERWISE = "set {workers} to 0 to load without processes, and see what fails"


def arrived(batches: Iterable[Any]) -> Iterator[Any]:
    """What `load_batches` passes on, for who has nothing else to do until it comes."""
    return (batch for batch in batches if batch is not None)


def load_batches(
    dataset: Dataset[Any],
    steps: Iterable[list[Any]],
    *,
    workers: int,
    pin: bool,
    collate: Callable[[list[Any]], Any] = default_collate,
) -> Iterator[Any]:
    """One batch a step, in order; and None whenever none has come for some seconds.

    Args:
        dataset: gives samples by key.
        steps: the keys of each batch.
        workers: loader processes.
        pin: whether batches go to a GPU.
        collate: makes a batch of samples.

    Raises:
        InputError: the one that a sample came back as.
        LoaderError: a loader process ended, or cannot hand a batch over.
    """
    faults: SimpleQueue[str] = multiprocessing.get_context().SimpleQueue()
    loader = DataLoader(
        dataset,
        batch_sampler=steps,
        num_workers=workers,
        collate_fn=partial(_collate, collate),
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=partial(_prepare_worker, faults),
        timeout=_LOOK if workers else 0,
    )
    # PyTorch's SIGCHLD handler would raise in the middle of a step.  A dead loader is noticed soon
    # enough when its batch does not arrive.
    handler = signal.getsignal(signal.SIGCHLD)
    if getattr(handler, "__module__", "").startswith("torch."):  # of an earlier loader
        handler = signal.SIG_DFL
    others = multiprocessing.active_children()
    batches = iter(loader)
    if handler is not None:
        signal.signal(signal.SIGCHLD, handler)
    processes = [p for p in multiprocessing.active_children() if p not in others]
    # If an exception ended this program, Python would wait for these processes for ever.
    end = partial(_kill, processes)
    atexit.register(end)
    try:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                if _TIMED_OUT in str(error) and _pins(batches):
                    yield None
                    continue
                fault = _fault(error, faults, processes)
                if fault is None:
                    raise
                raise LoaderError(_explained(fault, workers)) from None
            if isinstance(batch, InputError):
                raise batch
            yield batch
    except BaseException:
        end()
        raise
    finally:
        atexit.unregister(end)


def _pins(batches: Iterator[Any]) -> bool:
    """Whether the thread lives that copies batches to where a GPU reads them, if there is one."""
    thread = getattr(batches, "_pin_memory_thread", None)
    return thread is None or thread.is_alive()


def _fault(
    error: Exception, faults: "SimpleQueue[str]", processes: Sequence[BaseProcess]
) -> str | None:
    """What happened to a loader process; None where the program made a mistake in one."""
    if not faults.empty():
        return faults.get()
    # A process may be reported as dead slightly later than its pipe is closed.
    for process in processes:
        process.join(0.1)
    ended = [p.exitcode for p in processes if p.exitcode]
    if ended and ended[0] < 0:
        return f"ended by {signal.Signals(-ended[0]).name}"
    # What a process raised comes with its traceback.
    last = (str(error).strip().splitlines() or [repr(error)])[-1]
    if ended or _TIMED_OUT in last or any(sign in last for sign in _FAULTS):
        return last
    return None


def _prepare_worker(faults: "SimpleQueue[str]", _: int) -> None:
    """In a loader process: leave signals to the parent, and end where a batch cannot be sent.

    Batches leave it in a thread of its queue, which prints what goes wrong there and goes on: the
    parent would wait for ever.
    """
    leave_signals_to_parent()

    def end(error: Exception, _: object) -> None:
        faults.put(f"{type(error).__name__}: {error}")
        os._exit(1)

    Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]


def _explained(fault: str, workers: int) -> str:
    """What happened to a loader process, and what to do."""
    remedy = next((remedy for sign, remedy in _FAULTS.items() if sign in fault), _OTHERWISE).format(
        tmpdir=tempfile.gettempdir(), workers=f"compute.workers (here {workers})"
    )
    return f"a loader process failed ({' '.join(fault.split())[:160]}): {remedy}"


def _kill(processes: Sequence[BaseProcess]) -> None:
    """End loader processes: they ignore what else would, and one may be stuck for good."""
    for process in processes:
        process.kill()
        process.join(_LOOK)


def _collate(collate: Callable[[list[Any]], Any], samples: Sequence[Any]) -> Any:
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
    return collate(list(samples))

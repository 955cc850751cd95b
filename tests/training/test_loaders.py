"""Loader processes that fail: the job ends in a line, and never waits for ever."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from cyborgs.common.errors import LoaderError
from cyborgs.training.batches import arrived, load_batches
from tests.runs import REPOSITORY


class Samples(Dataset[dict[str, Any]]):
    """Arrays; with the key -1, something else happens instead."""

    def __init__(self, happens: Any = None) -> None:
        self._happens = happens

    def __getitem__(self, key: int) -> dict[str, Any]:
        if key == -1:
            self._happens()
        return {"values": np.full(100, key)}


def steps(*keys: int) -> list[list[int]]:
    return [[key] for key in keys]


def taken(samples: Samples, keys: list[list[int]], workers: int = 2) -> list[int]:
    batches = arrived(load_batches(samples, keys, workers=workers, pin=False))
    return [int(batch["values"][0, 0]) for batch in batches]


def test_batches_come_in_order_however_long_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """None comes in between, which is not the end."""
    monkeypatch.setattr("cyborgs.training.batches._LOOK", 0.2)
    samples = Samples(lambda: time.sleep(1))
    assert taken(samples, steps(3, -1, 5)) == [3, -1, 5]
    found = list(load_batches(samples, steps(3, -1, 5), workers=1, pin=False))
    assert [int(b["values"][0, 0]) for b in found if b is not None] == [3, -1, 5]
    assert None in found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_process_that_is_killed_is_told(number: signal.Signals) -> None:
    samples = Samples(lambda: os.kill(os.getpid(), number))
    remedy = {signal.SIGKILL: "memory may be full", signal.SIGBUS: "/dev/shm is full"}[number]
    told = rf"a loader process failed \(ended by {number.name}\): {remedy}.*compute.workers"
    with pytest.raises(LoaderError, match=told):
        taken(samples, steps(1, 2, -1, 3))


def test_a_process_that_dies_during_a_step_does_not_disturb_it() -> None:
    """Loaders run ahead: most die while a batch of before is computed on."""

    # As one that PyTorch has watched over before.
    list(DataLoader(Samples(), batch_sampler=steps(1), num_workers=1))

    def die_later() -> None:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    batches = arrived(load_batches(Samples(die_later), steps(1, 2, -1, 3), workers=1, pin=False))
    next(batches)
    begin = time.monotonic()
    while time.monotonic() - begin < 2:  # a step; interrupted, it would raise here
        time.sleep(0.05)
    with pytest.raises(LoaderError, match="ended by SIGKILL"):
        list(batches)


def test_a_thread_that_dies_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that hands batches over to a GPU."""
    monkeypatch.setattr("cyborgs.training.batches._LOOK", 0.2)
    monkeypatch.setattr("cyborgs.training.batches._pins", lambda batches: False)
    with pytest.raises(LoaderError, match="timed out"):
        taken(Samples(lambda: time.sleep(30)), steps(-1))


def test_an_error_without_words_is_raised_as_it_is() -> None:
    def fail() -> None:
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        taken(Samples(fail), steps(1, -1), workers=0)


def test_a_batch_that_cannot_be_handed_over_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path has 107 bytes at most."""
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setitem(multiprocessing.process.current_process()._config, "tempdir", None)  # type: ignore[attr-defined]
    with pytest.raises(LoaderError, match=rf"AF_UNIX.*TMPDIR, {folder}, is too long"):
        taken(Samples(), steps(1, 2, 3))


def test_a_mistake_of_the_program_shows_where_it_is() -> None:
    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        taken(Samples(lambda: 1 / 0), steps(1, -1))


def test_no_process_is_left_behind_where_one_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ignores SIGTERM, as all of them do."""
    monkeypatch.setattr("cyborgs.training.batches._LOOK", 0.2)

    def stuck() -> None:
        time.sleep(600)

    batches: Iterator[Any] = load_batches(Samples(stuck), steps(1, -1, 2), workers=2, pin=False)
    for batch in batches:
        if batch is None:
            break
    batches.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    # Another loader is watched as the first one was.
    with pytest.raises(LoaderError):
        taken(Samples(lambda: os.kill(os.getpid(), signal.SIGKILL)), steps(1, -1))


def test_a_mistake_that_ends_the_program_ends_its_loaders(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from cyborgs.training.batches import load_batches\n"
        "from tests.training.test_loaders import Samples, steps\n"
        "batches = load_batches(Samples(), steps(*range(100)), workers=2, pin=False)\n"
        "next(batches)\n"
        "1 / 0\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("ZeroDivisionError: division by zero")

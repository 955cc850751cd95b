"""Checkpoints of several processes: all continue from the one that the first chose."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from cyborgs.common.errors import InputError
from cyborgs.runtime import distributed
from cyborgs.training.rolling import Rolling


@dataclass
class State:
    step: int


def save(path: Path, state: State) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(state.step))


def load(path: Path) -> State:
    if not path.read_text():
        raise InputError(f"{path} is empty")
    return State(int(path.read_text()))


@pytest.fixture
def rolling(tmp_path: Path) -> Rolling[State]:
    made = Rolling(tmp_path / "work", "key", save, load)
    for step in (1, 2, 3):
        made.save(State(step))
    return made


def test_the_last_one_or_the_one_before(rolling: Rolling[State], tmp_path: Path) -> None:
    assert rolling.load() == State(3)
    (tmp_path / "work/key-000000003.pt").write_text("")
    assert rolling.load() == State(2)
    rolling.remove()
    assert rolling.load() is None


@pytest.mark.parametrize(("chosen", "expected"), [("key-000000002.pt", State(2)), (None, None)])
def test_others_take_what_the_first_chose(
    chosen: str | None,
    expected: State | None,
    rolling: Rolling[State],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "gather_objects", lambda own: [chosen, own])
    assert rolling.load() == expected


def test_what_killed_processes_left_is_removed(rolling: Rolling[State], tmp_path: Path) -> None:
    """As `atomic_write` calls it; that of another training stays."""
    work = tmp_path / "work"
    for done in (lambda: rolling.save(State(4)), rolling.remove):
        left = work / ".key-000000004-abcdefgh.part.pt"
        left.write_text("")
        (work / ".other-000000004-abcdefgh.part.pt").write_text("")
        done()
        assert not left.exists()
    assert [path.name for path in work.iterdir()] == [".other-000000004-abcdefgh.part.pt"]


def test_what_was_written_last_stays_beside_later_steps_that_cannot_be_read(
    rolling: Rolling[State], tmp_path: Path
) -> None:
    for path in (tmp_path / "work").iterdir():
        path.write_text("")
        # On some kernels, what is written within 4 ms is of one time.
        os.utime(path, (0, 0))
    assert rolling.load() is None
    rolling.save(State(1))
    assert rolling.load() == State(1)
    rolling.save(State(2))
    assert rolling.load() == State(2)
    names = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert names == ["key-000000001.pt", "key-000000002.pt"]

"""Rolling checkpoints: what an interrupted training continues from."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say
from cyborgs.runtime import distributed

# The last one, and the one before it in case the last cannot be read.
KEPT = 2


class _Counted(Protocol):
    """A state of training: it knows how many steps were taken."""

    step: int


State = TypeVar("State", bound=_Counted)


class Rolling(Generic[State]):
    """The checkpoints of one training, in a folder that others may share.

    Args:
        folder: where they lie; made when it is needed.
        key: names the training, its settings and its inputs; checkpoints of others are left
            alone.
        save, load: write and read a state; they raise `InputError` where that cannot be done.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        save: Callable[[Path, State], None],
        load: Callable[[Path], State],
    ) -> None:
        self._folder = folder
        self._key = key
        self._save = save
        self._load = load

    def save(self, state: State) -> None:
        """Write a checkpoint, then remove all but it and the last of the others.

        Raises `InputError` where it cannot be written; the earlier ones are then still there.
        """
        written = self._folder / f"{self._key}-{state.step:09d}.pt"
        self._save(written, state)
        # By time of writing, not by step: a checkpoint of a later step may remain that cannot be
        # read.
        others = sorted((p for p in self._paths() if p != written), key=_time)
        for path in others[: 1 - KEPT]:
            path.unlink(missing_ok=True)
        self._tidy()

    def load(self) -> State | None:
        """The last checkpoint that can be read, or None; says which, and what cannot be read.

        Of several processes the first chooses, so that all continue from the same step.  Raises
        `InputError` where another one cannot read what it chose.
        """
        state, name = self._load_last() if distributed.rank() == 0 else (None, None)
        chosen = distributed.gather_objects(name)[0]
        if chosen is not None and state is None:
            state = self._load(self._folder / chosen)
        return state

    def _load_last(self) -> tuple[State, str] | tuple[None, None]:
        for path in reversed(self._paths()):
            try:
                state = self._load(path)
            except InputError as error:
                say(f"{error}; going back to the one before")
                continue
            say(f"continuing from step {state.step}, saved in {path}")
            return state, path.name
        return None, None

    def remove(self) -> None:
        """Remove all of them, when the training is done."""
        for path in self._paths():
            path.unlink(missing_ok=True)
        self._tidy()

    def _tidy(self) -> None:
        """Remove what processes left that were killed while they wrote."""
        for path in self._folder.glob(f".{self._key}-*.part.pt"):
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(self._folder.glob(f"{self._key}-*.pt"))


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0

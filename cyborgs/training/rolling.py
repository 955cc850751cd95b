"""Rolling checkpoints: what an interrupted round continues from."""

from pathlib import Path

from cyborgs.errors import InputError
from cyborgs.progress import say
from cyborgs.training.state import TrainingState, load_state, save_state

# The last one, and the one before it in case the last cannot be read.
KEPT = 2


class Rolling:
    """The checkpoints of one round of training, in a folder that other rounds may share.

    Args:
        folder: where they lie; made when it is needed.
        key: names the round, its settings and its inputs; checkpoints of others are left alone.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, then remove all but the last two.

        Raises `InputError` where it cannot be written; the earlier ones are then still there.
        """
        save_state(self._folder / f"pretrain-{self._key}-{state.step:09d}.pt", state)
        for path in self._paths()[:-KEPT]:
            path.unlink(missing_ok=True)

    def load(self) -> TrainingState | None:
        """The last checkpoint that can be read, or None; says which, and what cannot be read."""
        for path in reversed(self._paths()):
            try:
                state = load_state(path)
            except InputError as error:
                say(f"{error}; going back to the one before")
                continue
            say(f"continuing from step {state.step}, saved in {path}")
            return state
        return None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._paths())

    def remove(self) -> None:
        """Remove all of them, when the round is done."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(self._folder.glob(f"pretrain-{self._key}-*.pt"))

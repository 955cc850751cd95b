"""Taking steps: what is saved, and when a job leaves."""

import pytest

from cyborgs.errors import ResumeLaterError
from cyborgs.signals import Stop
from cyborgs.training.loop import train


class Counting:
    """Steps that cost nothing, four an epoch; in one of them it is asked to leave."""

    steps_per_epoch, batch_size = 4, 1

    def __init__(self, asked_in: int | None = None) -> None:
        self.step = 0
        self.stop = Stop()
        self._asked_in = asked_in

    def train_step(self, _: object, leave: bool = False) -> tuple[float, bool]:
        if self.step == self._asked_in:
            self.stop.asked = "SIGTERM"
            leave = True
        self.step += 1
        return 1.0, leave

    def rate(self) -> float:
        return 0.1

    def health(self) -> dict[str, float]:
        return {}


def run(trainer: Counting, steps: int, more: bool) -> list[int]:
    """The steps after which it was saved, where it took all."""
    saved: list[int] = []
    train(
        trainer,
        range(steps),
        steps,
        lambda: saved.append(trainer.step),
        1e9,
        lambda row: None,
        trainer.stop,
        more=more,
    )
    return saved


def test_it_saves_after_epochs_and_before_more_work() -> None:
    assert run(Counting(), 10, more=False) == [4, 8]
    assert run(Counting(), 10, more=True) == [4, 8, 10]
    assert run(Counting(), 8, more=False) == [4]
    assert run(Counting(), 8, more=True) == [4, 8]


@pytest.mark.parametrize("more", [False, True])
def test_it_leaves_after_the_step_in_which_it_was_asked(more: bool) -> None:
    trainer = Counting(asked_in=5)
    with pytest.raises(ResumeLaterError, match="left after step 6"):
        run(trainer, 10, more)
    assert trainer.step == 6


def test_asked_in_the_last_step_it_leaves_where_there_is_more_to_do() -> None:
    assert run(Counting(asked_in=9), 10, more=False) == [4, 8]
    with pytest.raises(ResumeLaterError, match="after step 10"):
        run(Counting(asked_in=9), 10, more=True)

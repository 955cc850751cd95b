"""Taking steps: what is saved, and when a job leaves."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch

from cyborgs.common.errors import InputError, LoaderError, ResumeLaterError
from cyborgs.runtime.signals import Stop
from cyborgs.training.loop import Outcome, Waiting, train


class Counting:
    """Steps that cost nothing, four an epoch; in one of them it is asked to leave.

    On "cuda" their losses are read a step later, as those of a GPU are.
    """

    steps_per_epoch, batch_size = 4, 1

    def __init__(
        self, asked_in: int | None = None, device: str = "cpu", diverges_in: int | None = None
    ) -> None:
        self.device = torch.device(device)
        self._diverges_in = diverges_in
        self.step = 0
        self.stop = Stop()
        self._asked_in = asked_in

    def train_step(self, _: object, leave: bool = False) -> Outcome:
        if self.step == self._asked_in:
            self.stop.asked = "SIGTERM"
            leave = True
        loss = torch.tensor(float("nan") if self.step == self._diverges_in else 1.0)
        self.step += 1
        return Outcome.of(
            loss, leave, step=self.step - 1, rate=0.1, images="some", remedy="lower it"
        )

    def rate(self) -> float:
        return 0.1

    def health(self) -> dict[str, float]:
        return {}


def run(
    trainer: Counting,
    steps: int,
    more: bool = False,
    batches: Iterable[Any] | None = None,
    saved: list[int] | None = None,
) -> list[int]:
    """The steps after which it was saved; ``saved`` has them where it does not take all."""
    saved = [] if saved is None else saved
    train(
        trainer,
        range(steps) if batches is None else batches,
        steps,
        checkpoint=lambda: saved.append(trainer.step),
        every=1e9,
        log=lambda row: None,
        stop=trainer.stop,
        more=more,
    )
    return saved


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_it_saves_after_epochs_and_before_more_work(device: str) -> None:
    assert run(Counting(device=device), 10, more=False) == [4, 8]
    assert run(Counting(device=device), 10, more=True) == [4, 8, 10]
    assert run(Counting(device=device), 8, more=False) == [4]
    assert run(Counting(device=device), 8, more=True) == [4, 8]


@pytest.mark.parametrize("more", [False, True])
def test_it_leaves_after_the_step_in_which_it_was_asked(more: bool) -> None:
    trainer = Counting(asked_in=5)
    with pytest.raises(ResumeLaterError, match="left after step 6"):
        run(trainer, 10, more)
    assert trainer.step == 6


@pytest.mark.parametrize("every", [0.0, 1e9])
@pytest.mark.parametrize(("asked_in", "left_after"), [(5, 7), (6, 8), (7, 8)])
def test_processes_leave_a_gpu_together(every: float, asked_in: int, left_after: int) -> None:
    """A step later, or at an epoch's end, and whether or not a process had just saved."""
    trainer = Counting(asked_in=asked_in, device="cuda")
    with pytest.raises(ResumeLaterError, match=f"left after step {left_after}"):
        train(
            trainer,
            range(12),
            12,
            checkpoint=lambda: None,
            every=every,
            log=lambda row: None,
            stop=trainer.stop,
        )
    assert trainer.step == left_after


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("diverges_in", [2, 3, 9])
def test_nothing_is_saved_after_a_loss_that_is_not_finite(device: str, diverges_in: int) -> None:
    trainer, saved = Counting(device=device, diverges_in=diverges_in), []
    with pytest.raises(InputError, match=rf"loss is nan at step {diverges_in}, .*lower it"):
        train(
            trainer,
            range(10),
            10,
            checkpoint=lambda: saved.append(trainer.step),
            every=0.0 if diverges_in == 2 else 1e9,
            log=lambda row: None,
            stop=trainer.stop,
        )
    assert saved == {2: [1, 2], 3: [], 9: [4, 8]}[diverges_in]


def test_metrics_of_an_epoch_are_of_all_its_steps() -> None:
    for device in ("cpu", "cuda"):
        trainer, rows = Counting(device=device), []
        train(
            trainer,
            range(8),
            8,
            checkpoint=lambda: None,
            every=1e9,
            log=rows.append,
            stop=trainer.stop,
        )
        assert [(row["epoch"], row["steps"], row["loss"]) for row in rows] == [(1, 4, 1), (2, 4, 1)]


def test_asked_in_the_last_step_it_leaves_where_there_is_more_to_do() -> None:
    assert run(Counting(asked_in=9), 10, more=False) == [4, 8]
    with pytest.raises(ResumeLaterError, match="after step 10"):
        run(Counting(asked_in=9), 10, more=True)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_asked_while_no_batch_comes_it_saves_and_leaves(device: str) -> None:
    """A disk or a network that hangs, say."""
    trainer, saved = Counting(device=device), []

    def batches() -> Iterator[int | None]:
        yield from [1, None, 2, None, 3]
        trainer.stop.asked = "SIGTERM"
        while True:
            yield None

    with pytest.raises(
        ResumeLaterError, match=r"after step 3 \(SIGTERM, while waiting for a batch\)"
    ):
        run(trainer, 8, batches=batches(), saved=saved)
    assert saved == [3]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("error", [LoaderError, InputError])
def test_what_was_trained_is_saved_where_loaders_fail(device: str, error: type[Exception]) -> None:
    """A machine's fault; a bad image would be met again."""
    trainer, saved = Counting(device=device), []

    def batches() -> Iterator[int]:
        yield from range(6)
        raise error("no room")

    with pytest.raises(error, match="no room"):
        run(trainer, 8, batches=batches(), saved=saved)
    assert saved == ([4, 6] if error is LoaderError else [4])


def test_nothing_is_saved_where_loaders_fail_after_a_loss_that_is_not_finite() -> None:
    trainer, saved = Counting(device="cuda", diverges_in=1), []

    def batches() -> Iterator[int]:
        yield from range(2)
        raise LoaderError("no room")

    with pytest.raises(InputError, match="loss is nan at step 1"):
        run(trainer, 8, batches=batches(), saved=saved)
    assert saved == []


def test_one_of_several_processes_waits_on_though_it_is_asked_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one saves, and the others may be in the middle of a step with this one."""
    monkeypatch.setattr("cyborgs.runtime.distributed.rank", lambda: 1)
    stop = Stop()
    stop.asked = "SIGTERM"
    assert list(Waiting([None, 1, None], stop)) == [1]


def test_a_long_wait_is_told(monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    monkeypatch.setattr("cyborgs.training.loop._PATIENCE", 0)
    passed = list(Waiting([None, 1, None, 2], Stop()))
    assert passed == [1, 2]
    assert capsys.readouterr().err.count("is the disk or the network failing?") == 2  # type: ignore[attr-defined]

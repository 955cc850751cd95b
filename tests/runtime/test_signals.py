"""What asks a job to leave, and in which order."""

import os
import signal

import pytest

from cyborgs.runtime.signals import SIGNALS, note_signals


@pytest.fixture(autouse=True)
def unchanged():
    """Handlers are those of before."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def test_the_first_reason_stands():
    """One process leaves for it, and who started it then asks the others to leave too."""
    with note_signals() as stop:
        os.kill(os.getpid(), signal.SIGALRM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked == "time limit"
    with note_signals() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked == "SIGUSR1"


@pytest.mark.parametrize(("rank", "ignored"), [(None, False), ("0", True)])
def test_one_of_several_says_what_went_wrong_though_it_is_asked_to_leave(
    rank, ignored, monkeypatch
):
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="lost"), note_signals():
        raise RuntimeError("lost")
    assert signal.getsignal(signal.SIGTERM) == (signal.SIG_IGN if ignored else before)
    # In peace, all is as it was.
    signal.signal(signal.SIGTERM, before)
    with note_signals():
        pass
    assert signal.getsignal(signal.SIGTERM) == before

"""A program that stands in for one that it starts: signals and exit status."""

import signal
import subprocess
import sys

import pytest

from cyborgs.runtime.standing_in import stand_in

PARENT = """
import sys
from cyborgs.runtime.standing_in import stand_in
sys.exit(stand_in([sys.executable, "-c", sys.argv[1]]))
"""

CHILD = """
import signal, sys, time
signal.signal(signal.{name}, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("status", [0, 1, 75])
def test_the_exit_status_is_passed_on(status):
    assert stand_in([sys.executable, "-c", f"raise SystemExit({status})"]) == status


def test_an_end_by_a_signal_is_told_as_a_shell_tells_it():
    assert stand_in([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 128 + 9


def test_variables_are_handed_over():
    child = "import os; raise SystemExit(os.environ['X'] != 'y')"
    assert stand_in([sys.executable, "-c", child], {"X": "y"}) == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_are_passed_on(name):
    words = [sys.executable, "-c", PARENT, CHILD.format(name=name)]
    reset = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=reset) as parent:
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(signal.Signals[name])
        assert parent.wait(timeout=30) == 75

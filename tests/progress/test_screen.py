"""Terminals of every kind, and what is none."""

import io

import pytest

from cyborgs.progress.screen import Screen


class Terminal(io.TextIOWrapper):
    """A terminal of no known size."""

    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self):
        return True

    @property
    def written(self):
        return self.buffer.getvalue().decode(self.encoding)


def test_a_tree_is_drawn_over_the_one_before():
    terminal = Terminal()
    screen = Screen(terminal, {"TERM": "xterm"})
    screen.show(["a", "\x1b[32mb\x1b[0m"])
    screen.show(["c"])
    screen.say(["stays"])
    screen.show(["d"])
    screen.clear()
    screen.clear()
    assert terminal.written == (
        "a\n\x1b[32mb\x1b[0m\n" "\r\x1b[2A\x1b[J" "c\n" "\r\x1b[1A\x1b[J" "stays\n" "d\n"
        "\r\x1b[1A\x1b[J"
    )  # fmt: skip


def test_lines_that_a_narrower_terminal_broke_are_taken_away_whole(monkeypatch):
    terminal = Terminal()
    screen = Screen(terminal, {"TERM": "xterm"})
    screen.show(["x" * 100])
    screen.clear()
    assert terminal.written.endswith("\x1b[2A\x1b[J")


@pytest.mark.parametrize(
    ("environment", "live", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_what_a_terminal_can_do(environment, live, colour):
    screen = Screen(Terminal(), environment)
    assert (screen.live, screen.style().colour) == (live, colour)
    assert not Screen(Terminal(), environment, plain=True).live


def test_a_pipe_has_no_tree_and_lines_of_any_length():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    screen = Screen(stream, {"TERM": "xterm"})
    screen.show(["tree"])
    screen.say(["x" * 300])
    assert not screen.live
    assert stream.buffer.getvalue() == b"x" * 300 + b"\n"


@pytest.mark.parametrize(("encoding", "symbols"), [("utf-8", True), ("iso8859-1", False)])
def test_other_encodings_lose_no_line(encoding, symbols):
    terminal = Terminal(encoding)
    screen = Screen(terminal, {"TERM": "xterm"})
    assert screen.style().symbols is symbols
    screen.say(["写真 ✓"])
    assert terminal.written == ("写真 ✓\n" if symbols else "?? ?\n")

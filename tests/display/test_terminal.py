"""Pictures in a terminal, escape by escape."""

import io
import re

import numpy as np
import pytest
from skimage.color import rgb2lab

from cyborgs.display.pictures import Panel
from cyborgs.display.terminal import can_show, draw, half_blocks, knows_true_colour


class Terminal(io.StringIO):
    def __init__(self, tty=True, encoding="utf-8"):
        super().__init__()
        self.tty = tty
        self._encoding = encoding

    @property
    def encoding(self):
        return self._encoding

    def isatty(self):
        return self.tty


@pytest.mark.parametrize(
    ("environment", "deep", "expected"),
    [
        ({"COLORTERM": "truecolor"}, True, True),
        ({"COLORTERM": "24bit", "TERM": "xterm"}, True, True),
        ({"COLORTERM": "", "TERM": "xterm"}, False, False),
        ({"TERM": "xterm-256color"}, False, True),
        ({"TERM": "tmux-256color", "COLORTERM": "yes"}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_which_terminals_can(environment, deep, expected):
    assert knows_true_colour(environment) is deep
    assert can_show(Terminal(), environment) is expected
    assert not can_show(Terminal(tty=False), environment)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("UTF-8", True), ("utf-8", True), ("iso8859-1", False), ("ascii", False), (None, False)],
)
def test_a_terminal_must_take_the_half_block(encoding, expected):
    assert can_show(Terminal(encoding=encoding), {"COLORTERM": "truecolor"}) is expected


def test_two_rows_of_pixels_are_a_line():
    picture = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], dtype=np.uint8)
    assert half_blocks(picture, true_colour=True) == [
        "\x1b[38;2;1;2;3m\x1b[48;2;7;8;9m▀\x1b[38;2;4;5;6m\x1b[48;2;10;11;12m▀\x1b[0m"
    ]


def test_256_colours_take_the_nearest():
    picture = np.array(
        [[[255, 0, 0], [0, 0, 0]], [[127, 127, 129], [96, 134, 176]]], dtype=np.uint8
    )
    assert half_blocks(picture, true_colour=False) == [
        "\x1b[38;5;196m\x1b[48;5;244m▀\x1b[38;5;16m\x1b[48;5;67m▀\x1b[0m"
    ]


def defined(number):
    """Number 16 + 36 r + 6 g + b has steps 0, 95, 135, … 255; number 232 + n is grey 8 + 10 n."""
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    steps = np.unravel_index(number - 16, (6, 6, 6))
    return tuple(0 if s == 0 else 55 + 40 * int(s) for s in steps)


def test_256_colours_are_shown_as_they_are():
    colours = np.array([[defined(n) for n in range(16, 256)]], dtype=np.uint8)
    (line,) = half_blocks(colours, true_colour=False)
    shown = [defined(int(n)) for n in re.findall(r"38;5;(\d+)m", line)]
    np.testing.assert_array_equal(shown, colours[0])


def test_others_take_the_one_that_looks_nearest():
    picture = np.random.default_rng(0).integers(0, 256, (1, 300, 3), dtype=np.uint8)
    (line,) = half_blocks(picture, true_colour=False)
    numbers = [int(n) for n in re.findall(r"38;5;(\d+)m", line)]
    known = rgb2lab(np.array([[defined(n) for n in range(16, 256)]], dtype=np.uint8))[0]
    apart = np.linalg.norm(rgb2lab(picture)[0, :, None] - known, axis=-1)
    # Two implementations of CIELAB round differently.
    chosen = apart[np.arange(300), np.array(numbers) - 16]
    assert (chosen <= apart.min(axis=1) + 0.5).all()


@pytest.mark.parametrize("true_colour", [True, False])
def test_an_odd_last_row_has_no_background(true_colour):
    lines = half_blocks(np.zeros((3, 1, 3), np.uint8), true_colour)
    black = "2;0;0;0" if true_colour else "5;16"
    assert lines == [f"\x1b[38;{black}m\x1b[48;{black}m▀\x1b[0m", f"\x1b[38;{black}m▀\x1b[0m"]


def panels(count):
    return [
        Panel(f"round {n}", f"{n} masks", np.zeros((10, 20, 3), np.uint8)) for n in range(count)
    ]


@pytest.mark.parametrize(
    ("columns", "beside", "width"),
    [(20, 1, 20), (77, 1, 77), (78, 2, 38), (118, 3, 38), (140, 3, 45), (500, 5, 80)],
)
def test_as_many_side_by_side_as_fit(columns, beside, width):
    stream = Terminal()
    draw([panels(5)], columns, True, stream)
    lines = stream.getvalue().splitlines()
    titles = [line.count("round") for line in lines if "round" in line]
    assert titles[0] == beside
    assert sum(titles) == 5
    assert max(line.count("▀") for line in lines) == beside * width <= columns


def test_titles_stand_above_their_pictures():
    stream = Terminal()
    draw([panels(2)], 78, True, stream)
    title, subtitle, first = stream.getvalue().splitlines()[:3]
    assert title.index("round 1") == subtitle.index("1 masks") == 40
    plain = re.sub(r"\x1b\[[\d;]*m", "", first)
    assert plain == "▀" * 38 + "  " + "▀" * 38


def test_a_panel_without_a_picture():
    stream = Terminal()
    draw([[Panel("seed", "no mask", None), *panels(1)]], 100, True, stream)
    assert "no mask" in stream.getvalue()
    draw([[Panel("seed", "no mask", None)]], 100, True, stream)

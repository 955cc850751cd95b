"""Pictures in a terminal, escape by escape."""

import io

import numpy as np
import pytest

from cyborgs.masks.pictures import Panel
from cyborgs.masks.terminal import can_show, draw, half_blocks


class Terminal(io.StringIO):
    def __init__(self, tty=True):
        super().__init__()
        self.tty = tty

    def isatty(self):
        return self.tty


@pytest.mark.parametrize(
    ("tty", "colours", "expected"),
    [
        (True, "truecolor", True),
        (True, "24bit", True),
        (True, "", False),
        (True, None, False),
        (False, "truecolor", False),
    ],
)
def test_which_terminals_can(tty, colours, expected):
    environment = {} if colours is None else {"COLORTERM": colours}
    assert can_show(Terminal(tty), environment) is expected


def test_two_rows_of_pixels_are_a_line():
    picture = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], dtype=np.uint8)
    assert half_blocks(picture) == [
        "\x1b[38;2;1;2;3m\x1b[48;2;7;8;9m▀\x1b[38;2;4;5;6m\x1b[48;2;10;11;12m▀\x1b[0m"
    ]


def test_an_odd_last_row_has_no_background():
    picture = np.array([[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]]], dtype=np.uint8)
    assert half_blocks(picture) == [
        "\x1b[38;2;1;2;3m\x1b[48;2;4;5;6m▀\x1b[0m",
        "\x1b[38;2;7;8;9m▀\x1b[0m",
    ]


def panels(count):
    return [
        Panel(f"round {n}", f"{n} masks", np.zeros((10, 20, 3), np.uint8)) for n in range(count)
    ]


@pytest.mark.parametrize(("columns", "beside"), [(20, 1), (77, 1), (78, 2), (118, 3), (400, 5)])
def test_as_many_side_by_side_as_fit(columns, beside):
    stream = Terminal()
    draw([panels(5)], columns, stream)
    lines = stream.getvalue().splitlines()
    titles = [line.count("round") for line in lines if "round" in line]
    assert titles[0] == beside
    assert sum(titles) == 5
    assert max(line.count("▀") for line in lines) <= columns


def test_a_panel_without_a_picture():
    stream = Terminal()
    draw([[Panel("seed", "no mask", None), *panels(1)]], 100, stream)
    assert "no mask" in stream.getvalue()
    draw([[Panel("seed", "no mask", None)]], 100, stream)

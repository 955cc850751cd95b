"""Charts: what is drawn is what was given."""

from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from cyborgs.report import figures
from cyborgs.report.figures import COLOURS, Line, chart, dots, stacked_bars


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, before they become SVG."""
    found = []
    save = figures._svg
    monkeypatch.setattr(figures, "_svg", lambda f: found.append(f) or save(f))
    return found


def test_a_chart_shows_its_lines(drawn):
    lines = [Line("K = 8", [0, 1, 2], [0.1, 0.2, 0.3], 0), Line("K = 2", [0, 2], [0.2, 0.1], 1)]
    svg = chart("ARI", "round", lines, baseline=("seed masks", 0.15), boundaries=[0.5, 1.5])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    (axes,) = drawn[0].axes
    assert axes.get_title(loc="left") == "ARI"
    assert axes.get_xlabel() == "round"
    shown = {line.get_label(): line for line in axes.get_lines() if line.get_label()[0] != "_"}
    assert set(shown) == {"K = 8", "K = 2", "seed masks"}
    assert shown["K = 8"].get_xydata().tolist() == [[0, 0.1], [1, 0.2], [2, 0.3]]
    assert shown["seed masks"].get_ydata() == [0.15, 0.15]
    assert [line.get_color() for line in list(shown.values())[:2]] == list(COLOURS[:2])
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["K = 8", "K = 2", "seed masks"]


def test_a_series_keeps_its_colour_and_marker_from_chart_to_chart(drawn):
    for _ in range(2):
        chart("a", "x", [Line("other", [0], [1], 3)])
    first, second = (figure.axes[0].get_lines()[0] for figure in drawn)
    assert first.get_color() == second.get_color() == COLOURS[3]
    assert first.get_marker() == second.get_marker() == figures.MARKERS[3]


def test_dots_show_each_value_and_the_mean_of_each_row(drawn):
    svg = dots("mAP (percent)", [("initial", [15.0, 16.0, 14.0]), ("grid", [25.0])])
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    (axes,) = drawn[0].axes
    points = [line.get_xydata().tolist() for line in axes.get_lines()]
    assert points == [[[15, 0], [16, 0], [14, 0]], [[15, 0]], [[25, 1]], [[25, 1]]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["initial", "grid"]
    # The first row is on top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_bars_stand_on_one_another(drawn):
    stacked_bars("minutes", "round", [1, 2], [("training", [3.0, 4.0]), ("masks", [1.0, 2.0])])
    (axes,) = drawn[0].axes
    bars = [(b.get_x() + b.get_width() / 2, b.get_y(), b.get_height()) for b in axes.patches]
    for bar, expected in zip(bars, [(1, 0, 3), (2, 0, 4), (1, 3, 1), (2, 4, 2)], strict=True):
        assert bar == pytest.approx(expected)


def test_the_same_data_give_the_same_bytes():
    line = Line("a", [1, 2, 3], [0.5, 0.1, 0.7])
    assert chart("t", "x", [line]) == chart("t", "x", [line])
    assert "Date" not in chart("t", "x", [line])


def test_no_two_styles_share_a_colour_or_a_marker():
    assert len(set(COLOURS)) == len(COLOURS) == len(figures.MARKERS) == len(set(figures.MARKERS))


def test_no_style_is_left_behind():
    before = dict(mpl.rcParams)
    chart("t", "x", [Line("a", [1], [1])])
    assert dict(mpl.rcParams) == before

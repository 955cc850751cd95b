"""Charts: what is drawn is what was given."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from cyborgs.report import figures
from cyborgs.report.figures import COLOURS, Line, chart, dots, stacked_bars, swatch
from cyborgs.report.page import inline


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


def test_charts_can_share_axes_and_have_no_legend_of_their_own(drawn):
    lines = [Line("K = 8", [0, 1], [0.1, 0.2], 0), Line("K = 2", [0, 1], [0.2, 0.1], 1)]
    chart("ARI", "round", lines, y_range=(0, 0.7), legend=False)
    (axes,) = drawn[0].axes
    assert axes.get_ylim() == (0, 0.7)
    assert axes.get_legend() is None


@pytest.mark.parametrize(("rounds", "written"), [(2, [1, 2]), (4, [1, 2, 3, 4]), (9, [1, 4, 7])])
def test_boundaries_are_labelled_as_far_as_there_is_room(drawn, rounds, written):
    places = [10.5 * n for n in range(1, rounds + 1)]
    labels = [f"masks {n}" for n in range(1, rounds + 1)]
    chart("loss", "epoch", [Line("l", [1], [1])], boundaries=places, boundary_labels=labels)
    (axes,) = drawn[0].axes
    assert [text.get_text().strip() for text in axes.texts] == [f"masks {n}" for n in written]
    assert [text.get_position()[0] for text in axes.texts] == [10.5 * n for n in written]


def test_colours_are_those_of_the_page_with_others_to_fall_back_on():
    svg = chart("t", "x", [Line("a", [1], [1], 1)], baseline=("b", 0.5))
    assert "var(--series-1, #d55e00)" in svg
    assert "var(--ink, #1c1c1d)" in svg
    assert set(re.findall(r"(?<!, )#[0-9a-f]{6}\b", svg)) <= {"#ffffff"}


@pytest.mark.parametrize("style", [0, 3, None])
def test_a_swatch_looks_like_its_line(style):
    svg = swatch(style)
    colour = "--muted" if style is None else f"--series-{style}"
    assert f"stroke: var({colour}" in svg
    assert len(svg) < 3000


class TestInline:
    def test_identifiers_are_a_drawings_own(self):
        one, other = (inline(chart("t", "x", [Line("a", [1, 2], y)])) for y in ([1, 2], [2, 1]))
        assert one.startswith("<svg")
        ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
        assert ids[0]
        assert not ids[0] & ids[1]
        for svg, own in zip((one, other), ids, strict=True):
            assert set(re.findall(r'[("]#([^")]+)', svg)) == own

    def test_the_same_drawing_gives_the_same_element(self):
        svg = chart("t", "x", [Line("a", [1, 2], [2, 1])])
        assert inline(svg) == inline(svg)

"""Line charts for the report, as SVG.

Every chart is drawn at the width of a phone, so that the page can put one, two or three beside
each other without shrinking their text.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito (2008): distinct with any kind of colour vision.  Yellow is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Inches at 100 dots an inch: 360 x 250 pixels.
_SIZE = (3.6, 2.5)

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",
    # Identifiers inside the file come from its content, so that the same data give the same bytes.
    "svg.hashsalt": "cyborgs",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class Line:
    """A named series; the same ``style`` has the same colour and marker in every chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int = 0


def chart(
    title: str,
    x_label: str,
    lines: Sequence[Line],
    *,
    baseline: tuple[str, float] | None = None,
    boundaries: Sequence[float] = (),
    markers: bool = True,
) -> str:
    """A line chart as SVG text.

    Args:
        title: what is on the vertical axis, with its unit.
        x_label: what is on the horizontal one; its ticks are whole numbers.
        lines: the series.
        baseline: a name and a value to compare with, drawn across.
        boundaries: places on the horizontal axis where a new round begins.
        markers: whether each point is marked.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for boundary in boundaries:
            axes.axvline(boundary, color="#b0b0b0", linewidth=0.8, linestyle=":")
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                color=COLOURS[line.style % len(COLOURS)],
                marker=MARKERS[line.style % len(MARKERS)] if markers else None,
                label=line.name,
            )
        if baseline is not None:
            axes.axhline(baseline[1], color="#555555", linestyle="--", label=baseline[0])
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(lines) > 1 or baseline is not None:
            axes.legend()
        return _svg(figure)


def stacked_bars(
    title: str, x_label: str, x: Sequence[float], parts: Sequence[tuple[str, Sequence[float]]]
) -> str:
    """Bars of several named parts, one bar at each ``x``, as SVG text."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        bottom = [0.0] * len(x)
        for number, (name, heights) in enumerate(parts):
            axes.bar(x, heights, bottom=bottom, color=COLOURS[number], label=name, width=0.6)
            bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.set_axisbelow(True)
        axes.legend()
        return _svg(figure)


def dots(title: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Named rows of values, a point each, and a bar at each mean, as SVG text.

    Args:
        title: what the values are, with their unit.
        rows: names and values, from top to bottom.
    """
    with mpl.rc_context(_STYLE):
        height = max(_SIZE[1], 0.6 + 0.22 * len(rows))
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        axes = figure.subplots()
        for place, (_, values) in enumerate(rows):
            axes.plot(values, [place] * len(values), "o", color=COLOURS[0], alpha=0.6)
            axes.plot(sum(values) / len(values), place, "|", color="#000000", markersize=12)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(title)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()

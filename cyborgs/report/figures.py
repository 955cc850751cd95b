"""Line charts for the report, as SVG.

Every chart is drawn at the width of a phone, so that the page can put one, two or three beside
each other without shrinking their text.  Colours are CSS variables of the page (``--ink``,
``--muted``, ``--grid``, ``--series-0`` …) with those of a light page to fall back on, so that a
chart inside the page follows its dark mode.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito (2008): distinct with any kind of colour vision.  Yellow is too light for lines.
# Each is ``--series-`` and its number in the page's style; the last is black on light pages only.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Inches at 100 dots an inch: 360 x 230 pixels.
_SIZE = (3.6, 2.3)

# Text and axes; what is less important; lines behind the data.
_INK, _MUTED, _GRID = "#1c1c1d", "#5a5a5b", "#e3e3e4"

_VARIABLES = {
    _INK: "--ink",
    _MUTED: "--muted",
    _GRID: "--grid",
    **{colour.lower(): f"--series-{number}" for number, colour in enumerate(COLOURS)},
}

# The most labels of boundaries that fit beside each other.
_LABELS = 4

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
    "grid.color": _GRID,
    "text.color": _INK,
    "axes.titlecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
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
    boundary_labels: Sequence[str] = (),
    markers: bool = True,
    y_range: tuple[float, float] | None = None,
    legend: bool = True,
) -> str:
    """A line chart as SVG text.

    Args:
        title: what is on the vertical axis, with its unit.
        x_label: what is on the horizontal one; its ticks are whole numbers.
        lines: the series.
        baseline: a name and a value to compare with, drawn across.
        boundaries: places on the horizontal axis where a new round begins.
        boundary_labels: what begins at each of them; of many, some are written.
        markers: whether each point is marked.
        y_range: both ends of the vertical axis; by default those that the data need.
        legend: whether the chart has one of its own, where there is more than one line.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        every = -(-len(boundary_labels) // _LABELS)
        for number, boundary in enumerate(boundaries):
            axes.axvline(boundary, color=_MUTED, linewidth=1, linestyle=":")
            if number < len(boundary_labels) and number % every == 0:
                axes.text(
                    boundary,
                    0.98,
                    f" {boundary_labels[number]}",
                    transform=axes.get_xaxis_transform(),
                    fontsize=8,
                    color=_MUTED,
                    va="top",
                )
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                color=COLOURS[line.style % len(COLOURS)],
                marker=MARKERS[line.style % len(MARKERS)] if markers else None,
                label=line.name,
            )
        if baseline is not None:
            axes.axhline(baseline[1], color=_MUTED, linestyle="--", label=baseline[0])
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if y_range is not None:
            axes.set_ylim(*y_range)
        if legend and (len(lines) > 1 or baseline is not None):
            axes.legend()
        return _svg(figure)


def swatch(style: int | None) -> str:
    """A piece of a line for a legend outside the charts, as SVG text.

    Args:
        style: of a `Line`; None for a baseline.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(0.34, 0.14))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        if style is None:
            axes.plot([0, 1], [0, 0], color=_MUTED, linestyle="--")
        else:
            axes.plot([0, 1], [0, 0], color=COLOURS[style % len(COLOURS)])
            axes.plot(
                0.5, 0, color=COLOURS[style % len(COLOURS)], marker=MARKERS[style % len(MARKERS)]
            )
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
            axes.plot(sum(values) / len(values), place, "|", color=_INK, markersize=12)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(title)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _COLOUR.sub(_variable, stream.getvalue())


# A colour in a ``style`` attribute: a CSS variable is of no use in other attributes.
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}\b")


def _variable(found: re.Match[str]) -> str:
    name = _VARIABLES.get(found[0])
    return found[0] if name is None else f"var({name}, {found[0]})"

"""Sections of the report: charts and tables from plain numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from statistics import median

from markupsafe import Markup

from cyborgs.images.index import Index
from cyborgs.quality.results import COLUMNS
from cyborgs.report.cost import Cost
from cyborgs.report.figures import Line, chart, stacked_bars, swatch
from cyborgs.report.page import Chart, Table
from cyborgs.training.metrics import Row

Measures = Mapping[str, float | None]


@dataclass(frozen=True)
class Round:
    """A round: the lines of its epochs, and what training and making its masks cost."""

    number: int
    epochs: Sequence[Row] = ()
    training: Cost = field(default_factory=Cost)
    masks: Cost = field(default_factory=Cost)


def quality_charts(
    kinds: Mapping[str, Mapping[int, Measures]], seed: Measures, names: Mapping[str, str]
) -> list[Chart]:
    """A chart per measure: rounds across, a line for each kind of masks, the seed as baseline.

    All charts share one vertical axis, from 0, so that heights can be compared.

    Args:
        kinds: kind of masks ("K = 8", "as made") to round to measures.
        seed: measures of the seed masks that can be compared with them.
        names: keys of the measures that get a chart, and their titles.
    """
    drawn: dict[str, list[Line]] = {}
    for key in names:
        for style, (kind, rounds) in enumerate(kinds.items()):
            known = {n: f[key] for n, f in sorted(rounds.items()) if f.get(key) is not None}
            if known:
                line = Line(kind, list(known), [v or 0.0 for v in known.values()], style)
                drawn.setdefault(key, []).append(line)
    values = [y for lines in drawn.values() for line in lines for y in line.y]
    values += [value for key in drawn if (value := seed.get(key)) is not None]
    charts = []
    for key, lines in drawn.items():
        value = seed.get(key)
        svg = chart(
            names[key],
            "round",
            lines,
            baseline=None if value is None else ("seed masks", value),
            y_range=_shares(values),
            legend=False,
        )
        charts.append(Chart(svg, f"{names[key]} by round. {_told(lines)}"))
    return charts


def _shares(values: Sequence[float]) -> tuple[float, float]:
    """An axis that holds shares: from 0, or below where one is, to the next tenth."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return min(0.0, floor(10 * low) / 10), min(1.0, ceil(10 * high + 0.2) / 10)


def _told(lines: Sequence[Line]) -> str:
    return "; ".join(
        f"{line.name}: "
        + ", ".join(f"{y:.3f} in round {x}" for x, y in zip(line.x, line.y, strict=True))
        for line in lines
    )


def legend(names: Sequence[str], baseline: str | None = None) -> list[tuple[str, str]]:
    """A drawing and a name for each line of charts that share a legend, in their order."""
    entries = [(swatch(style), name) for style, name in enumerate(names)]
    return entries if baseline is None else [*entries, (swatch(None), baseline)]


def stability_charts(
    agreement: Mapping[str, Mapping[int, float]],
    counts: Mapping[str, Mapping[int, float]],
    rounds: Sequence[Round],
) -> list[Chart]:
    """What is known without labels: how stable masks are, how many there are, and collapse.

    Args:
        agreement: kind of masks to round to its agreement with the previous round (adjusted Rand
            index).
        counts: kind of masks to round to masks an image.
        rounds: whose epochs have the spread of projections.
    """
    charts = []
    for title, found, top in (
        ("agreement with the previous round", agreement, 1.0),
        ("masks an image", counts, None),
    ):
        lines = [
            Line(kind, list(own), list(own.values()), style)
            for style, (kind, own) in enumerate(found.items())
            if own
        ]
        if not lines:
            continue
        values = [y for line in lines for y in line.y]
        low = min(0.0, *values)
        highest = 1.1 * max(values) if top is None else top
        svg = chart(title, "round", lines, y_range=(low, highest), legend=False)
        charts.append(Chart(svg, f"{title} by round. {_told(lines)}"))
    return charts + _by_epoch(
        rounds,
        (
            ("projection_spread", "spread of projections (collapse: 0)", 1.0),
            ("positives", "share of masks with a counterpart", 1.0),
        ),
    )


def training_charts(rounds: Sequence[Round], *, new_masks: bool = True) -> list[Chart]:
    """Loss, learning rate and throughput by epoch; dotted lines are where masks change.

    Args:
        rounds: that have begun.
        new_masks: whether each round trains on other masks than the one before.
    """
    metrics = (
        ("loss", "loss", 0.0),
        ("learning_rate", "learning rate", 0.0),
        ("images_per_second", "images/s", 0.0),
        ("vmf", "vMF term, before its weight", 0.0),
    )
    return _by_epoch(rounds, metrics, new_masks=new_masks)


def _by_epoch(
    rounds: Sequence[Round],
    metrics: Sequence[tuple[str, str, float]],
    *,
    new_masks: bool = False,
) -> list[Chart]:
    """A chart of each metric that is known: its key, title, and the least top of its axis."""
    epochs = [row for r in rounds for row in r.epochs]
    ends = [(r.epochs[-1]["epoch"] + 0.5, r.number) for r in rounds[:-1] if r.epochs]
    charts = []
    for key, title, top in metrics:
        having = [row for row in epochs if key in row]
        if not having:
            continue
        x, y = [row["epoch"] for row in having], [row[key] for row in having]
        svg = chart(
            title,
            "epoch",
            [Line(title, x, y)],
            boundaries=[end for end, _ in ends],
            boundary_labels=[f"masks {n}" for _, n in ends] if new_masks else [],
            markers=len(x) <= 40,
            y_range=(min(0.0, *y), max(top, 1.08 * max(y)) or 1.0),
            legend=False,
        )
        told = f"{title} by epoch: {y[0]:.4g} at first, {y[-1]:.4g} at last"
        if new_masks and ends:
            told += f"; new masks after epochs {', '.join(f'{end:.0f}' for end, _ in ends)}"
        charts.append(Chart(svg, told))
    return charts


def quality_table(rows: Sequence[tuple[str, Measures]]) -> Table:
    """A line for each kind of masks and round, the best of a kind in bold.

    Args:
        rows: kind of masks ("K = 8") and its measures, with ``round``.
    """
    best = {
        (kind, key): max(
            (f[key] or 0.0 for own, f in rows if own == kind and f[key] is not None), default=None
        )
        for kind, _ in rows
        for key in COLUMNS
        if key not in ("clusters_per_image", "images")
    }

    def cell(kind: str, key: str, value: float | None) -> str:
        if value is None:
            return "-"
        if key == "images":
            return f"{value:,.0f}"
        if key == "clusters_per_image":
            return f"{value:.1f}"
        text = f"{value:.3f}"
        return Markup("<b>{}</b>").format(text) if value == best[kind, key] else text

    return Table(
        ["masks", "round", *COLUMNS.values()],
        [
            [
                kind,
                _round_name(kind, int(f["round"] or 0)),
                *(cell(kind, key, f[key]) for key in COLUMNS),
            ]
            for kind, f in rows
        ],
        "Bold: the best round of its kind. Compare the matched mIoU only between rows of one K: "
        "more masks raise it, and seed masks have the highest, because they are matched to classes "
        "image by image.",
    )


def _round_name(kind: str, number: int) -> str:
    if number:
        return str(number)
    return "0 (seed)" if kind == "as made" else "0 (before training)"


def training_table(rounds: Sequence[Round]) -> Table:
    """A line a round."""
    return Table(
        ["round", "epochs", "loss, first epoch", "loss, last epoch", "images/s (median)", "time"],
        [
            [
                str(r.number),
                str(len(r.epochs)),
                f"{r.epochs[0]['loss']:.3f}",
                f"{r.epochs[-1]['loss']:.3f}",
                f"{median(e['images_per_second'] for e in r.epochs):,.0f}",
                duration(sum(e["seconds"] for e in r.epochs)),
            ]
            for r in rounds
            if r.epochs
        ],
        "Time covers only the steps that were kept, not those that a killed job had done since its "
        "last rolling checkpoint.",
    )


def cost_charts(rounds: Sequence[Round]) -> list[Chart]:
    """Time of jobs by round, in minutes or hours."""
    known = [r for r in rounds if r.training.jobs or r.masks.jobs]
    longest = max(r.training.seconds + r.masks.seconds for r in known)
    unit, scale = ("hours", 3600) if longest > 2 * 3600 else ("minutes", 60)
    parts = [
        ("training", [r.training.seconds / scale for r in known]),
        ("making masks", [r.masks.seconds / scale for r in known]),
    ]
    svg = stacked_bars(f"job time, {unit}", "round", [r.number for r in known], parts)
    told = "; ".join(
        f"round {r.number}: training {duration(r.training.seconds)}, masks "
        f"{duration(r.masks.seconds)}"
        for r in known
    )
    return [Chart(svg, f"Job time by round. {told}")]


def cost_table(rounds: Sequence[Round]) -> Table:
    """A line a round."""
    return Table(
        ["round", "training", "peak memory", "making masks", "in jobs", "peak memory of a job"],
        [
            [
                str(r.number),
                duration(r.training.seconds) if r.training.jobs else "-",
                _gigabytes(r.training.memory) if r.training.jobs else "-",
                duration(r.masks.seconds) if r.masks.jobs else "-",
                str(r.masks.jobs),
                _gigabytes(r.masks.memory) if r.masks.jobs else "-",
            ]
            for r in rounds
            if r.training.jobs or r.masks.jobs
        ],
        "Wall time of jobs from start to end, as recorded by Snakemake, summed if a round has "
        "several. If a job was retried, only its last try counts.",
    )


def data_table(index: Index, source: str, annotations: str) -> Table:
    """What the index holds."""
    entries = list(index.entries)
    heights = [e.height for e in entries]
    widths = [e.width for e in entries]
    pixels = sum(e.height * e.width for e in entries)
    return Table(
        ["what", "value"],
        [
            ["images", f"{len(index):,}"],
            ["source", source],
            ["annotations", annotations],
            ["height, pixels", _range(heights)],
            ["width, pixels", _range(widths)],
            ["pixels", f"{pixels / 1e6:,.1f} million"],
            ["files", _gigabytes(sum(e.bytes for e in entries))],
            ["index", index.digest],
        ],
    )


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _range(values: Sequence[int]) -> str:
    return f"{min(values)} … {max(values)}, median {median(values):g}"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"

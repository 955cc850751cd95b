"""Sections of the report: charts and tables from plain figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from cyborgs.images.index import Index
from cyborgs.report.cost import Cost
from cyborgs.report.figures import Line, chart, stacked_bars
from cyborgs.report.page import Chart, Table
from cyborgs.training.metrics import Row

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Round:
    """A round: the lines of its epochs, and what training and making its masks cost."""

    number: int
    epochs: Sequence[Row] = ()
    training: Cost = field(default_factory=Cost)
    masks: Cost = field(default_factory=Cost)


def quality_charts(
    fixed: Mapping[str, Mapping[int, Figures]], seed: Figures, names: Mapping[str, str]
) -> list[Chart]:
    """A chart a figure: rounds across, a line for each fixed K, the seed masks as baseline.

    Args:
        fixed: kind of masks ("K = 8") to round to figures.
        seed: figures of the seed masks that compare with them.
        names: keys of the figures that get a chart, and their titles.
    """
    pictures = []
    for key, title in names.items():
        lines = []
        for style, (kind, rounds) in enumerate(fixed.items()):
            known = {n: f[key] for n, f in sorted(rounds.items()) if f.get(key) is not None}
            if known:
                lines.append(Line(kind, list(known), [v or 0.0 for v in known.values()], style))
        if not lines:
            continue
        value = seed.get(key)
        baseline = None if value is None else ("seed masks", value)
        svg = chart(title, "round", lines, baseline=baseline)
        told = "; ".join(
            f"{line.name}: "
            + ", ".join(f"{y:.3f} in round {x}" for x, y in zip(line.x, line.y, strict=True))
            for line in lines
        )
        pictures.append(Chart(svg, f"{title} by round. {told}"))
    return pictures


def training_charts(rounds: Sequence[Round]) -> list[Chart]:
    """Loss, rate, throughput and health by epoch; dotted lines are ends of rounds."""
    epochs = [row for r in rounds for row in r.epochs]
    ends = [r.epochs[-1]["epoch"] + 0.5 for r in rounds[:-1] if r.epochs]
    pictures = []
    for key, title in (
        ("loss", "loss"),
        ("learning_rate", "learning rate"),
        ("images_per_second", "images/s"),
        ("projection_spread", "spread of projections (collapse: 0)"),
        ("positives", "share of masks with a counterpart"),
        ("vmf", "vMF term, before its weight"),
    ):
        having = [row for row in epochs if key in row]
        if not having:
            continue
        x, y = [row["epoch"] for row in having], [row[key] for row in having]
        svg = chart(title, "epoch", [Line(title, x, y)], boundaries=ends, markers=len(x) <= 40)
        told = f"{title} by epoch: {y[0]:.4g} at first, {y[-1]:.4g} at last"
        pictures.append(Chart(svg, told))
    return pictures


def training_table(rounds: Sequence[Round]) -> Table:
    """A line a round."""
    return Table(
        ["round", "epochs", "loss, first epoch", "loss, last epoch", "images/s (median)", "time"],
        [
            [
                str(r.number),
                str(len(r.epochs)),
                f"{r.epochs[0]['loss']:.4f}",
                f"{r.epochs[-1]['loss']:.4f}",
                f"{median(e['images_per_second'] for e in r.epochs):.1f}",
                duration(sum(e["seconds"] for e in r.epochs)),
            ]
            for r in rounds
            if r.epochs
        ],
        "Time is that of the steps that count: what a killed job had done since its last rolling "
        "checkpoint is not in it.",
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
        ["round", "training", "most memory", "making masks", "in jobs", "most memory of a job"],
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
        "Wall time of jobs from start to end, summed where a round has several, as Snakemake "
        "noted it; of a job that was tried again, the last try.",
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

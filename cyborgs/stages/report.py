"""Stage `report`: the story of a run on one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.common.progress import say, track
from cyborgs.common.seeding import generator
from cyborgs.config import Config
from cyborgs.evaluation.results import read_results, tables
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.decoding import decode
from cyborgs.images.index import Index, read_index
from cyborgs.masks.shards import Masks
from cyborgs.quality.results import COLUMNS, read_quality, rows_of
from cyborgs.report.cost import read_cost
from cyborgs.report.gallery import Gallery, Series, Shown, rows_of_pictures
from cyborgs.report.page import Table, render
from cyborgs.report.sections import (
    Round,
    cost_charts,
    cost_table,
    data_table,
    duration,
    quality_charts,
    training_charts,
    training_table,
)
from cyborgs.run.description import describe
from cyborgs.run.paths import Run
from cyborgs.run.sources import Sources, title_of
from cyborgs.training.metrics import read_metrics

# Images of each gallery.
SHOWN = 5

# Figures that get a chart, of those in the table.
CHARTED = ("ari", "mbo_instances", "asa", "boundary_recall", "boundary_precision", "miou")

Measured = dict[str, dict[int, dict[str, Any]]]


def run(folder: Path, out: Path) -> None:
    """Write the report of a run as one HTML file that needs nothing else.

    Args:
        folder: of the run.  What it lacks (annotations, figures of epochs or of jobs) is left
            out of the report.
        out: the file to write.

    Raises:
        InputError: a folder that is no run, or a file in it that is damaged.
    """
    files = Run(folder)
    config = files.read_config()
    index = read_index(files.index)
    if not files.rounds():
        raise InputError(f"run {folder} has no masks yet; run the workflow first")
    rounds = [_read_round(files, n) for n in range(config.rounds + 1)]
    measured = _read_quality(files, config)
    made = tuple((title_of(n), files.shards(n)) for n in files.rounds())
    described = describe(Sources(made, files.index))
    trained = [r for r in rounds if r.epochs]
    paid = [r for r in rounds if r.training.jobs or r.masks.jobs]
    galleries = _galleries(files, config, index, measured)
    html = render(
        "page.html",
        title=f"{config.run}: {config.rounds} rounds of {config.model.architecture} on "
        f"{len(index):,} images",
        lead=_lead(measured, config),
        tiles=_tiles(config, index, rounds, measured=measured, described=described),
        quality=_quality_table(measured) if measured else None,
        quality_text="Higher is better in every chart. Lines cluster the features of each round "
        "with the same K, so that rounds compare (round 0 is the network before training); the "
        "dashed line is the seed masks that the run began with. As made are the masks that were "
        "trained on, with a K drawn anew for each group.",
        quality_charts=_quality_charts(measured) if measured else [],
        downstream=_downstream(files, config),
        training=training_table(trained) if trained else None,
        training_charts=training_charts(trained) if trained else [],
        cost=cost_table(paid) if paid else None,
        cost_charts=cost_charts(paid) if paid else [],
        gallery_text="A mask keeps its colour from round to round as far as it stays the same.",
        galleries=galleries,
        data=data_table(index, _source(config), _annotations(config)),
        masks=_masks_table(described),
        origins=_origins(described),
        configuration=yaml.safe_dump(
            config.model_dump(exclude={"compute"}), sort_keys=False, allow_unicode=True
        ),
        libraries=Table(
            ["library", "version"],
            [[n, v] for n, v in described[-1]["provenance"]["libraries"].items()],
        ),
    )
    with atomic_write(out) as temporary:
        # A name that is not UTF-8 gets question marks: a page has one encoding.
        temporary.write_text(html, encoding="utf-8", errors="replace")
    say(f"report: {out.stat().st_size / 1e6:.1f} MB in {out}")


def _read_round(files: Run, number: int) -> Round:
    path = files.metrics(number)
    epochs = read_metrics(path) if path.exists() else []
    training, masks = files.costs(number)
    return Round(number, epochs, read_cost(training), read_cost(masks))


def _read_quality(files: Run, config: Config) -> Measured:
    """Kind of masks ("k-8", "made") to round to what `cyborgs masks quality` wrote."""
    measured: Measured = {}
    for kind in [*(f"k-{k}" for k in config.quality.clusters), "made"]:
        for number in range(config.rounds + 1):
            path = files.quality(kind, number)
            if path.exists():
                measured.setdefault(kind, {})[number] = read_quality(path)
    return measured


def _title(kind: str) -> str:
    return "as made" if kind == "made" else f"K = {kind[2:]}"


def _quality_table(measured: Measured) -> Table:
    header, *rows = rows_of(
        [(_title(kind), figures) for kind, all_ in measured.items() for figures in all_.values()]
    )
    return Table(
        header,
        rows,
        "The matched mIoU compares only rows of one K: it is easier to reach with more masks, and "
        "easiest for seed masks, which are matched to classes image by image.",
    )


def _downstream(files: Run, config: Config) -> list[tuple[str, Table]]:
    """A title and a table for each evaluation that was made."""
    found = read_results([path for path in files.evaluations(config) if path.exists()])
    return [(title, Table(rows[0], rows[1:])) for title, rows in tables(found).items()]


def _quality_charts(measured: Measured) -> list[Any]:
    fixed = {_title(kind): rounds for kind, rounds in measured.items() if kind != "made"}
    # Seed masks are matched to classes image by image, which is easier than group by group.
    seed = {k: v for k, v in measured.get("made", {}).get(0, {}).items() if k != "miou"}
    return quality_charts(fixed, seed, {key: COLUMNS[key] for key in CHARTED})


def _lead(measured: Measured, config: Config) -> str:
    for kind, rounds in measured.items():
        first, last = rounds.get(0), rounds.get(config.rounds)
        if first and last and first["ari"] and last["ari"]:
            return (
                f"Agreement of the masks with annotated objects (adjusted Rand index, "
                f"{_title(kind)}) went from {first['ari']:.3f} before training to "
                f"{last['ari']:.3f} after {config.rounds} rounds."
            )
    return (
        f"{config.rounds} rounds of training on masks, each followed by new masks from what was "
        "learned."
    )


def _tiles(
    config: Config,
    index: Index,
    rounds: list[Round],
    *,
    measured: Measured,
    described: list[dict[str, Any]],
) -> list[tuple[str, str]]:
    """Figures that a reader sees first, and what they are."""
    epochs = [row for r in rounds for row in r.epochs]
    tiles = [(f"{len(index):,}", "images"), (str(config.rounds), "rounds")]
    if epochs:
        tiles.append((f"{len(epochs)}", "epochs"))
        tiles.append((f"{epochs[-1]['loss']:.3f}", "loss, last epoch"))
        tiles.append((duration(sum(e["seconds"] for e in epochs)), "training"))
    if any(r.masks.jobs for r in rounds):
        tiles.append((duration(sum(r.masks.seconds for r in rounds)), "making masks, job time"))
    size = sum(d["bytes"]["disk"] for d in described)
    plain = sum(d["bytes"]["npy"] for d in described)
    tiles.append((f"{size / 1e6:,.1f} MB", f"all masks, {plain / size:,.0f} times less than .npy"))
    return tiles


def _galleries(files: Run, config: Config, index: Index, measured: Measured) -> list[Gallery]:
    series = _series(files, config, index)
    annotations = files.annotations()
    truth = None if annotations is None else GroundTruth(annotations)
    # Images that every series has: those of the fixed-K comparison, where there is one.
    candidates = series[-1].rounds[-1][1].positions
    galleries = []
    for title, positions in _choose(config, candidates, measured).items():
        shown = [
            _show(files.images(), index, p, series=series, truth=truth)
            for p in track(positions, len(positions), "report", "images")
        ]
        galleries.append(Gallery(title, shown))
    for group in series:
        for _, masks in group.rounds:
            masks.close()
    return galleries


def _series(files: Run, config: Config, index: Index) -> list[Series]:
    """The masks of all rounds, as they were made and at each fixed K."""

    def read(where: str) -> Masks:
        return Masks(where, index, complete=False)

    made = [(title_of(n), read(files.shards(n))) for n in files.rounds()]
    series = [Series("masks as made", made)]
    for k in config.quality.clusters:
        probes = [(n, files.fixed_k(k, n)) for n in range(config.rounds + 1)]
        fixed = [(f"round {n}", read(str(path))) for n, path in probes if path.exists()]
        if fixed:
            series.append(Series(f"masks at K = {k}", fixed))
    return series


def _choose(
    config: Config, candidates: NDArray[np.int64], measured: Measured
) -> dict[str, list[int]]:
    """Positions of the images to show, by the reason they were chosen for."""
    chosen = {}
    if measured:
        # The first kind is a fixed K, where there is one; its last round tells best from worst.
        kind, rounds = next(iter(measured.items()))
        figures = rounds[max(rounds)]
        for key, word in (("best", "highest"), ("worst", "lowest")):
            title = f"{key.capitalize()}: {word} adjusted Rand index in round {figures['round']}"
            images = [int(image["position"]) for image in figures[key][:SHOWN]]
            chosen[f"{title}, {_title(kind)}"] = images
    order = generator(config.seed, "report").permutation(candidates)
    return {**chosen, "Drawn at random": [int(p) for p in order[:SHOWN]]}


def _show(
    images: Path,
    index: Index,
    position: int,
    *,
    series: Sequence[Series],
    truth: GroundTruth | None,
) -> Shown:
    e = index[position]
    photograph = decode(images, e)
    known = truth is not None and e.name in truth
    instances = truth.instances(e) if truth and known else None
    return Shown(
        f"image {position}: {e.name}",
        rows_of_pictures(e.name, position, photograph, series=series, truth=instances),
    )


def _masks_table(described: list[dict[str, Any]]) -> Table:
    return Table(
        ["masks", "images", "shards", "groups", "K", "size", "bytes an image", "int64 .npy"],
        [
            [
                d["title"],
                str(d["images"]),
                str(d["shards"]),
                str(d["groups"] or "-"),
                f"{d['clusters'][0]} … {d['clusters'][2]}",
                f"{d['bytes']['disk'] / 1e6:.2f} MB",
                f"{d['bytes']['disk'] / d['images']:.0f}",
                f"{d['bytes']['npy'] / d['bytes']['disk']:.0f} times as much",
            ]
            for d in described
        ],
        "cyborgs masks show, stats and compare tell more of them.",
    )


def _origins(described: list[dict[str, Any]]) -> Table:
    roles = sorted({role for d in described for role in d["provenance"]["inputs"]})
    return Table(
        ["masks", "made by", *(f"from {role} (SHA-256)" for role in roles)],
        [
            [
                d["title"],
                f"{d['provenance']['stage']} {d['provenance']['stage_version']}",
                *(d["provenance"]["inputs"].get(role, "-") for role in roles),
            ]
            for d in described
        ],
        "cyborgs masks verify holds these against the files.",
    )


def _source(config: Config) -> str:
    assert config.data is not None
    return config.data.images or _own(config)


def _annotations(config: Config) -> str:
    assert config.data is not None
    return config.data.annotations or _own(config)


def _own(config: Config) -> str:
    assert config.data is not None
    return "none" if config.data.scenes is None else "drawn by the program (data.scenes)"

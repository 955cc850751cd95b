"""Stage `report`: a run on one page."""

from dataclasses import dataclass, replace
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
from cyborgs.quality.results import COLUMNS, read_quality
from cyborgs.report.comparisons import (
    COMPARED,
    difference,
    in_common,
    masks_an_image,
    object_agreement,
    stability,
)
from cyborgs.report.cost import read_cost
from cyborgs.report.evaluated import backbone_facts
from cyborgs.report.facts import Costs, Difference, Facts, Health, Progress
from cyborgs.report.facts import Masks as MaskFacts
from cyborgs.report.gallery import Grid, Series, Strip, columns, note, photo, strip
from cyborgs.report.page import Chart, Table, render
from cyborgs.report.sections import (
    Round,
    cost_charts,
    cost_table,
    data_table,
    legend,
    quality_charts,
    quality_table,
    stability_charts,
    training_charts,
    training_table,
)
from cyborgs.report.verdict import verdict
from cyborgs.run.description import describe
from cyborgs.run.paths import Run
from cyborgs.run.sources import Sources, title_of
from cyborgs.training.metrics import read_metrics

# Images of each reason to be shown.
SHOWN = 4

# Measures that get a chart, of those in the table.
CHARTED = ("ari", "mbo_instances", "asa", "boundary_recall", "boundary_precision", "miou")

Measured = dict[str, dict[int, dict[str, Any]]]

CAVEAT = (
    "This is one run. Intervals are over images, or over repetitions of an evaluation; they do not "
    "say how much a run with another random seed would differ. ARI is the adjusted Rand index with "
    "the background as one segment: 1 is perfect and 0 is chance, for any number of masks. K is "
    "the number of clusters into which the features of a group of images are divided."
)


@dataclass(frozen=True)
class Made:
    """The masks of a run that are there, open: by round, as they were made and at each fixed K."""

    made: dict[int, Masks]
    fixed: dict[int, dict[int, Masks]]

    @property
    def kinds(self) -> dict[str, dict[int, Masks]]:
        """By the name of their kind, in the order of the page's charts."""
        fixed = {_title(f"k-{k}"): rounds for k, rounds in self.fixed.items()}
        return {**fixed, _title("made"): self.made}

    def close(self) -> None:
        """Close all files."""
        for rounds in (self.made, *self.fixed.values()):
            for masks in rounds.values():
                masks.close()


def run(folder: Path, out: Path) -> None:
    """Write the report of a run as one HTML file that needs nothing else.

    The run may be under way: the page says what is known so far.

    Args:
        folder: of the run.  What it lacks (annotations, metrics of epochs, costs of jobs, later
            rounds) is left out of the report.
        out: the file to write.

    Raises:
        InputError: a folder that is no run, or a file in it that is damaged.
    """
    files = Run(folder)
    config = files.read_config()
    index = read_index(files.index)
    if not files.rounds():
        raise InputError(f"run {folder} has no masks yet; run the workflow first")
    annotations = files.annotations()
    truth = None if annotations is None else GroundTruth(annotations)
    rounds = [_read_round(files, n) for n in range(config.rounds + 1)]
    measured = _read_quality(files, config)
    described = describe(
        Sources(tuple((title_of(n), files.shards(n)) for n in files.rounds()), files.index)
    )
    masks = _open_masks(files, config, index)
    trained = [r for r in rounds if r.epochs]
    paid = [r for r in rounds if r.training.jobs or r.masks.jobs]
    agreement = {k: stability(own, index, config.seed) for k, own in masks.kinds.items()}
    counts = {k: masks_an_image(own, config.seed) for k, own in masks.kinds.items()}
    facts = Facts(
        _progress(files, config, rounds),
        _mask_facts(config, masks, index=index, truth=truth, agreement=agreement),
        backbone_facts(files, config),
        _health(rounds, counts[_title("made")]),
        _costs(rounds),
    )
    kinds = {_title(kind): found for kind, found in measured.items()}
    html = render(
        "page.html",
        title=f"{config.run}: {config.rounds} rounds of {config.model.architecture} on "
        f"{len(index):,} images",
        verdict=verdict(facts),
        caveat=CAVEAT,
        labelled=truth is not None,
        quality=_quality_table(measured) if measured else None,
        quality_text="Higher is better. All charts have the same vertical axis. K = …: masks from "
        "the features of each round at one K, so that rounds can be compared; round 0 is before "
        "training. As made: the masks that training used, with a K drawn for each group.",
        quality_legend=legend(list(kinds), "seed masks"),
        quality_charts=_quality_charts(kinds),
        downstream=_downstream(files, config),
        stability_text="These measures need no annotations. Agreement is the adjusted Rand index "
        "between the masks of a round and those of the previous round (1: the same); K = … "
        "compares them at one K. Masks that agree from round to round are stable, not necessarily "
        "good: a collapsed network gives stable masks too. If the spread of the projections is "
        "near 0, the network has collapsed. Near 1, the projections are spread out, which is "
        "necessary for a good network but not sufficient.",
        stability_legend=legend(list(masks.kinds)),
        stability_charts=stability_charts(agreement, counts, trained),
        training=training_table(trained) if trained else None,
        training_charts=training_charts(trained, new_masks=not config.pretrain.fixed_masks),
        cost=cost_table(paid) if paid else None,
        cost_charts=cost_charts(paid) if paid else [],
        gallery_text="A mask that stays mostly the same keeps its colour from round to round. "
        "Click a picture to enlarge it; Escape closes it.",
        gallery=_gallery(files, config, masks, index=index, truth=truth, measured=measured),
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
    masks.close()
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


def _open_masks(files: Run, config: Config, index: Index) -> Made:
    def read(where: str) -> Masks:
        return Masks(where, index, complete=False)

    fixed: dict[int, dict[int, Masks]] = {}
    for k in config.quality.clusters:
        paths = {n: files.fixed_k(k, n) for n in range(config.rounds + 1)}
        rounds = {n: read(str(path)) for n, path in paths.items() if path.exists()}
        if rounds:
            fixed[k] = rounds
    return Made({n: read(files.shards(n)) for n in files.rounds()}, fixed)


def _title(kind: str) -> str:
    return "as made" if kind == "made" else f"K = {kind[2:]}"


def _progress(files: Run, config: Config, rounds: list[Round]) -> Progress:
    trained = max(n for n in range(config.rounds + 1) if n == 0 or files.state(n).exists())
    running = len(rounds[trained + 1].epochs) if trained < config.rounds else 0
    missing = []
    if config.data is not None and config.data.labelled:
        kinds = [f"k-{k}" for k in config.quality.clusters]
        if not all(files.quality(kind, config.rounds).exists() for kind in kinds):
            missing.append("mask quality")
    if not all(path.exists() for path in files.evaluations(config)):
        missing.append("evaluations of the backbone")
    epochs = config.pretrain.epochs
    of_epochs = epochs if isinstance(epochs, int) else epochs[min(trained, len(epochs) - 1)]
    return Progress(config.rounds, trained, running, of_epochs, missing)


def _mask_facts(
    config: Config,
    masks: Made,
    *,
    index: Index,
    truth: GroundTruth | None,
    agreement: dict[str, dict[int, float]],
) -> MaskFacts:
    """What is known of the masks: at the first fixed K, or as made where there is none."""
    kind, rounds = next(iter(masks.kinds.items()))
    settled = [found[max(found)] for found in agreement.values() if found]
    about = MaskFacts(
        labelled=truth is not None,
        kind=kind,
        round=max(rounds),
        oracle=config.seed_masks.kind == "ground-truth",
        fixed=config.pretrain.fixed_masks,
        agreement=settled[0] if settled else None,
    )
    last = max(masks.made)
    compared = {"value": rounds[max(rounds)]} if max(rounds) else {}
    if masks.fixed and max(rounds) and 0 in rounds:
        compared["before"] = rounds[0]
    if 0 in masks.made:
        compared["seed"] = masks.made[0]
    if last:
        compared["made"] = masks.made[last]
    if truth is None or "value" not in compared:
        return about
    positions = in_common(list(compared.values()), COMPARED, config.seed)
    kept, found = object_agreement(compared, positions, index, truth)
    groups = rounds[max(rounds)].groups[kept]

    def beside(ours: str, theirs: str) -> Difference | None:
        if ours not in found or theirs not in found:
            return None
        return difference(found[ours], found[theirs], groups, config.seed)

    return replace(
        about,
        seed=beside("value", "seed"),
        before=beside("value", "before"),
        made=beside("made", "seed"),
    )


def _health(rounds: list[Round], counts: dict[int, float]) -> Health:
    spreads = [e["projection_spread"] for r in rounds for e in r.epochs if "projection_spread" in e]
    later = [count for number, count in counts.items() if number]
    return Health(spreads, later[-1] if later else None, counts.get(0))


def _costs(rounds: list[Round]) -> Costs:
    epochs = [row for r in rounds for row in r.epochs]
    training = sum(r.training.seconds for r in rounds) or sum(e["seconds"] for e in epochs)
    return Costs(
        training=training,
        masks=sum(r.masks.seconds for r in rounds),
        speeds=[e["images_per_second"] for e in epochs],
        memory=max(max(r.training.memory, r.masks.memory) for r in rounds),
        gpu_memory=max((e.get("gpu_memory", 0.0) for e in epochs), default=0.0),
    )


def _quality_table(measured: Measured) -> Table:
    return quality_table(
        [(_title(kind), found) for kind, all_ in measured.items() for found in all_.values()]
    )


def _downstream(files: Run, config: Config) -> list[tuple[str, Table]]:
    """A title and a table for each evaluation that was made."""
    found = read_results([path for path in files.evaluations(config) if path.exists()])
    return [(title, Table(rows[0], rows[1:])) for title, rows in tables(found).items()]


def _quality_charts(kinds: Measured) -> list[Chart]:
    # Seed masks are matched to classes image by image, which is easier than group by group.
    seed = {k: v for k, v in kinds.get("as made", {}).get(0, {}).items() if k != "miou"}
    shown = {
        kind: {
            n: found if kind != "as made" or n else {k: v for k, v in found.items() if k != "miou"}
            for n, found in rounds.items()
        }
        for kind, rounds in kinds.items()
    }
    return quality_charts(shown, seed, {key: COLUMNS[key] for key in CHARTED})


@dataclass(frozen=True)
class Gallery:
    """The pictures of the page: reasons and kinds to choose from, photographs by position."""

    reasons: list[str]
    kinds: list[str]
    photos: dict[int, str]
    grids: list[Grid]


def _gallery(
    files: Run,
    config: Config,
    masks: Made,
    *,
    index: Index,
    truth: GroundTruth | None,
    measured: Measured,
) -> Gallery:
    made = Series("as made", [(title_of(n), own) for n, own in masks.made.items()])
    series = [made] + [
        Series(
            f"K = {k}",
            [(f"round {n}" if n else "before training", own) for n, own in rounds.items()],
        )
        for k, rounds in masks.fixed.items()
    ]
    # Images that every series has: those of the fixed-K comparison, where there is one.
    candidates = series[-1].rounds[-1][1].positions
    chosen = _choose(config, candidates, measured)
    photos = {}
    positions = sorted({p for own in chosen.values() for p in own})
    for position in track(positions, len(positions), "report", "images"):
        photos[position] = photo(decode(files.images(), index[position]))
    grids = [
        Grid(
            reason,
            kind,
            columns(own, truth is not None),
            [_strip(index, p, series=own, truth=truth) for p in shown],
            note(own),
        )
        for reason, shown in enumerate(chosen.values())
        for kind, own in enumerate(series)
    ]
    kinds = [f"masks {own.kind}" if own is made else f"masks at {own.kind}" for own in series]
    return Gallery(list(chosen), kinds, photos, grids)


def _choose(
    config: Config, candidates: NDArray[np.int64], measured: Measured
) -> dict[str, list[int]]:
    """Positions of the images to show, by the reason they were chosen for."""
    chosen = {}
    if measured:
        # The first kind is a fixed K, where there is one; its last round tells best from worst.
        kind, rounds = next(iter(measured.items()))
        found = rounds[max(rounds)]
        for key, word in (("best", "best"), ("worst", "worst")):
            title = f"{word} (ARI of round {found['round']}, {_title(kind)})"
            chosen[title] = [int(image["position"]) for image in found[key][:SHOWN]]
    order = generator(config.seed, "report").permutation(candidates)
    # The page opens with these: the best would flatter the run.
    return {"drawn at random": [int(p) for p in order[:SHOWN]], **chosen}


def _strip(index: Index, position: int, *, series: Series, truth: GroundTruth | None) -> Strip:
    entry = index[position]
    instances = truth.instances(entry) if truth is not None and entry.name in truth else None
    return strip(
        entry.name,
        position,
        (entry.height, entry.width),
        series=series,
        truth=instances,
        labelled=truth is not None,
    )


def _masks_table(described: list[dict[str, Any]]) -> Table:
    return Table(
        ["masks", "images", "shards", "groups", "K", "size", "bytes per image", "int64 .npy"],
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
        "cyborgs masks show, stats and compare give more detail.",
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
        "cyborgs masks verify compares these hashes with the files.",
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

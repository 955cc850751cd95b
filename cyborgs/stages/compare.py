"""``cyborgs compare``: runs side by side, as tables and as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cyborgs.api.runs import Run
from cyborgs.common.files import atomic_write
from cyborgs.common.progress import say
from cyborgs.common.seeding import generator
from cyborgs.common.tables import aligned
from cyborgs.comparing.checks import common_clusters, open_all, require_comparable
from cyborgs.comparing.sections import (
    curves,
    evaluations_table,
    progress_table,
    quality_table,
    settings_table,
)
from cyborgs.masks.shards import Masks
from cyborgs.report.gallery import Grid, Series, columns, note, photo, strip
from cyborgs.report.page import Table, render
from cyborgs.run.sources import title_of

# Images on the page.
SHOWN = 6


def run(folders: Sequence[Path], out: Path | None) -> str:
    """Compare runs: settings that differ, cost, mask quality and evaluations.

    A run that is under way is compared as far as it got.

    Args:
        folders: of two runs or more; the first is the one that differences are taken from.
        out: HTML page to write, which also has curves and pictures; None: none.

    Returns:
        The tables as text.

    Raises:
        InputError: runs that do not compare (`require_comparable`), that are given twice, or
            folders that are no runs.
    """
    runs = open_all(folders)
    require_comparable(runs)
    clusters, notes = common_clusters(runs)
    tables = {
        "settings": settings_table(runs),
        "progress": progress_table(runs),
        "quality": quality_table(runs, clusters),
        "evaluations": evaluations_table(runs),
    }
    if out is not None:
        _write(runs, clusters, notes, tables=tables, out=out)
    shown = [_text(tables["settings"])] if tables["settings"].rows else [tables["settings"].note]
    shown += [_text(t) for name, t in tables.items() if name != "settings" and t.rows]
    return "\n\n".join([*shown, *notes])


def _text(table: Table) -> str:
    return aligned([table.header, *table.rows])


def _write(
    runs: Mapping[str, Run],
    clusters: Sequence[int],
    notes: Sequence[str],
    *,
    tables: Mapping[str, Table],
    out: Path,
) -> None:
    grid, photos, text = _images(runs, clusters)
    first = next(iter(runs.values()))
    html = render(
        "compare.html",
        title=" and ".join(runs),
        lead=f"{len(runs)} runs on the same {len(first.index):,} images.",
        notes=[f"{text[0].upper()}{text[1:]}." for text in notes],
        curves=curves(runs, clusters),
        grid=grid,
        photos=photos,
        images_text=text,
        **tables,
    )
    with atomic_write(out) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    say(f"compare: {out.stat().st_size / 1e6:.1f} MB in {out}")


def _images(
    runs: Mapping[str, Run], clusters: Sequence[int]
) -> tuple[Grid | None, dict[int, str], str]:
    """Some images with the last masks of each run, their photographs, and what these are."""
    found = {name: _last(run, clusters) for name, run in runs.items()}
    last = {name: masks for name, masks in found.items() if masks is not None}
    if not last:
        return None, {}, "No run has masks yet."
    common = set.intersection(*(set(masks.positions.tolist()) for masks in last.values()))
    first = next(iter(runs.values()))
    order = generator(first.config.seed, "compare").permutation(sorted(common))
    series = Series("masks", [(f"{name}, {title_of(m.round)}", m) for name, m in last.items()])
    # Any run knows the annotations that all have; one of them may have none.
    truths = {
        position: next((t for run in runs.values() if (t := run.instances(position))), None)
        for position in map(int, order[:SHOWN])
    }
    labelled = any(truth is not None for truth in truths.values())
    strips, photos = [], {}
    for position, truth in truths.items():
        photograph = first.photograph(position)
        photos[position] = photo(photograph)
        strips.append(
            strip(
                first.index[position].name,
                position,
                (photograph.shape[0], photograph.shape[1]),
                series=series,
                truth=truth,
                labelled=labelled,
            )
        )
    for masks in last.values():
        masks.close()
    kind = f"clustered with K = {clusters[0]}" if clusters else "as they were made"
    return (
        Grid(0, 0, columns(series, labelled), strips, note(series)),
        photos,
        f"Drawn at random; the masks of the last round of each run, {kind}. Masks that "
        "overlap most have the same colour.",
    )


def _last(run: Run, clusters: Sequence[int]) -> Masks | None:
    """The last masks of a run: at the first common K, or as made where there is none."""
    if clusters:
        at_k = (run.files.fixed_k(clusters[0], n) for n in reversed(range(run.config.rounds + 1)))
        where = next((str(path) for path in at_k if path.exists()), None)
    else:
        where = run.files.shards(run.rounds[-1]) if run.rounds else None
    return None if where is None else Masks(where, run.index, complete=False)

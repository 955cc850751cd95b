"""Stage `evaluate table`: what all evaluations found, as tables and as one file of JSON."""

import json
from pathlib import Path

from cyborgs.common.files import atomic_write
from cyborgs.common.tables import aligned
from cyborgs.evaluation.results import long_rows, read_results, tables


def run(paths: list[Path], table: Path | None, merged: Path | None) -> str:
    """The metrics of several backbones as text, a table an evaluation.

    Args:
        paths: what evaluations wrote.
        table: file for every metric as tab-separated values, with the commands, settings and
            hashes behind it.
        merged: file for the same as JSON: a list of results, the seeds of each joined.

    Raises:
        InputError: a file that is missing or is none of them, or a seed that is there twice.
    """
    results = read_results(paths)
    if table is not None:
        with atomic_write(table) as temporary:
            lines = ("\t".join(row) + "\n" for row in long_rows(results))
            temporary.write_text("".join(lines))
    if merged is not None:
        with atomic_write(merged) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
    return "\n\n".join(
        f"{title} (percent)\n{aligned(rows)}" for title, rows in tables(results).items()
    )

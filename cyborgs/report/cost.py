"""What jobs took, from the files that Snakemake's ``benchmark`` leaves."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cyborgs.common.errors import InputError


@dataclass(frozen=True)
class Cost:
    """What jobs of one kind took as far as Snakemake noted it.

    Attributes:
        seconds: of wall time, summed over jobs.
        memory: the most that a job held, in bytes.
        jobs: how many.
    """

    seconds: float = 0.0
    memory: float = 0.0
    jobs: int = 0


def read_cost(paths: Sequence[Path]) -> Cost:
    """What Snakemake's benchmark files say; files that are not there or say nothing are no job."""
    seconds, memory = [], []
    for path in paths:
        if not path.exists():
            continue
        with open(path, newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                try:
                    seconds.append(float(row["s"]))
                    # Mebibytes; no number where a job was too short to be looked at.
                    known = row["max_rss"] not in ("NA", "-")
                    memory.append(float(row["max_rss"]) * 2**20 if known else 0.0)
                except (KeyError, ValueError, TypeError):
                    raise InputError(
                        f"cost {path} is damaged; delete it (no result needs it)"
                    ) from None
    return Cost(sum(seconds), max(memory, default=0.0), len(seconds))

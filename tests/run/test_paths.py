"""Names of a run's files."""

import os
from pathlib import Path

from cyborgs.run.paths import Run

SECOND = (
    "states/.round-01.pt",
    "masks/round-01/.shard-0000-of-0002.h5",
    "downstream/voc_detection/random/.seed-0.json",
)
OTHERS = (
    "states/round-01.pt",
    "states/.round-01-k3b_x.part.pt",
    "masks/round-01/shard-0000-of-0002.h5",
    "masks/round-01/.shard-0000-of-0002-k3b_x.part.h5",
    "masks/round-01/.shard-0000-of-0002.lock",
    "downstream/voc_detection/random/.seed-0-k3b_x.part.json",
    "logs/pretrain/.round-01.log",
)


def test_second_names_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (*SECOND, *OTHERS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.utime(tmp_path / SECOND[0], (100, 100))
    Run(tmp_path).forget_second_names(since=101)
    assert [name for name in (*SECOND, *OTHERS) if not (tmp_path / name).exists()] == [*SECOND[1:]]
    Run(tmp_path).forget_second_names()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == (
        sorted(OTHERS)
    )

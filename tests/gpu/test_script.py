"""The script that measures a GPU and runs its tests, tried on the CPU at the smallest sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import REPOSITORY


@pytest.mark.slow
def test_the_script_runs(tmp_path: Path, write_image) -> None:
    for number in range(4):
        write_image(tmp_path / f"photographs/{number}.jpg", (90, 120))
    here = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{here}:{os.environ['PATH']}",
        "DEVICE": "cpu",
        "BENCH_SECONDS": "30",
        "TESTS": "loss_and_gradients or whole_loop",
    }
    script = ["bash", REPOSITORY / "tests/gpu/run.sh"]
    shown = subprocess.run(
        [*script, tmp_path / "out", tmp_path / "photographs"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    rows = [json.loads(line) for line in (tmp_path / "out/speed.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"masks", "loader", "step"}
    # The difference of two jobs' times is noise at this size, and may be below zero.
    measured = [row for row in rows if row.get("stage") != "a job, after its start"]
    assert all(row["images_per_second"] > 0 for row in measured)
    assert "| published |" in (tmp_path / "out/speed.md").read_text()
    assert "2 passed" in (tmp_path / "out/tests.log").read_text()

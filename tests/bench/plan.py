"""Time and memory of planning a run, by its number of shards; nothing is computed.

    python tests/bench/plan.py [--shards 125 250 500 1000]

`config/coco.yaml`, 8 rounds, over make-believe images and annotations.  `bare` is a Snakefile of
as many jobs with nothing in them: what Snakemake itself takes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[2]

BARE = """
rule all:
    input: "state-08"
rule seed:
    output: "state-00"
    shell: "touch {output}"
rule train:
    input:
        state=lambda w: f"state-{int(w.round) - 1:02d}",
        masks=lambda w: [f"masks-{int(w.round) - 1:02d}-{n}" for n in range(config["shards"])],
    output: "state-{round}"
    wildcard_constraints: round=r"(?!00)\\d\\d"
    shell: "touch {output}"
rule masks:
    input: "state-{round}"
    output: "masks-{round}-{shard}"
    shell: "touch {output}"
"""


def plan(folder, bare, shards):
    """Seconds, and the most memory of a process in bytes."""
    data = {"images": "images", "annotations": "annotations.json"}
    command = [
        Path(sys.executable).parent / "snakemake", "--workflow-profile", "none", "--dry-run",
        "--quiet", "all", "--cores", "1", "--directory", folder, "--snakefile",
    ]  # fmt: skip
    if bare:
        command += [folder / "Snakefile", "--config", f"shards={shards}"]
    else:
        command += [
            REPOSITORY / "workflow/Snakefile",
            "--configfile",
            REPOSITORY / "config/coco.yaml",
        ]
        command += ["--config", f"shards={shards}", f"data={json.dumps(data)}"]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    return seconds, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(BARE)
        (folder / "annotations.json").write_text("{}")
        (folder / "images").mkdir()
        for number in range(1024):  # a step's
            (folder / f"images/{number}.jpg").touch()
        print("| shards | jobs | seconds | memory | bare: seconds | memory |")
        print("|---|---|---|---|---|---|")
        for shards in options.shards:
            cells = []
            turns = [[plan(folder, b, shards) for b in (False, True)] for _ in range(options.turns)]
            for found in zip(*turns, strict=True):
                seconds, memory = map(median, zip(*found, strict=True))
                cells += [f"{seconds:.1f}", f"{memory / 1e6:.0f} MB"]
            print(f"| {shards:,} | {8 * shards + 8:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

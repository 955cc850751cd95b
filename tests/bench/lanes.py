"""An experiment on one machine with one GPU: several jobs at a time, without Snakemake.

    python tests/bench/lanes.py experiments/voc2007.yaml --lanes 8 --seconds 480

Runs what `workflow/experiment.smk` runs, in the same folder below ``results/``, in processes that
stay: PyTorch and the GPU are loaded once in each, and small networks fill a GPU together.  Jobs
that would begin after ``--seconds`` are left out; the workflow, or another call, goes on from
there.  `cyborgs experiment summary` tells what it came to.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from types import FrameType

from cyborgs import cli
from cyborgs.config import Compute
from cyborgs.config.experiment import load_experiment
from cyborgs.experiments.plan import Job, plan
from cyborgs.experiments.rows import read_rows


def execute(job: Job, words: Sequence[str]) -> int:
    """Run a job in this process; its words go to its log, its time to its file of cost."""
    for path in (job.log, job.cost, *job.outputs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    begun = time.perf_counter()
    status = cli.main([*job.command, *words])
    seconds = time.perf_counter() - begun
    Path(job.cost).write_text(f"s\tmax_rss\n{seconds:.4f}\t-\n")
    return status


def _end_all(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.killpg(0, number)


def main() -> int:
    """Run the jobs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="YAML file")
    parser.add_argument("--lanes", type=int, default=8, help="jobs at a time")
    parser.add_argument("--seconds", type=float, default=480, help="no job begins after these")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    # Whoever ends this process ends those of its jobs.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _end_all)
    # All jobs share the first GPU, and none waits for it.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    experiment = load_experiment(options.experiment)
    planned = plan(experiment)
    compute = Compute(**experiment.base.compute.model_dump() | {"device": options.device})
    if experiment.finished is not None:
        keys = frozenset(row["key"] for row in read_rows(Path(experiment.finished)))
        planned = plan(experiment, keys)
    left = [job for job in planned.jobs if not all(Path(path).exists() for path in job.outputs)]
    made_later = {path for job in left for path in job.outputs}
    running: dict[Future[int], Job] = {}
    begun, failed = time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.lanes, mp_context=context) as pool:
        while left or running:
            late = time.monotonic() - begun > options.seconds
            for job in list(left):
                if late or len(running) == options.lanes:
                    break
                if not made_later.intersection(job.inputs):
                    running[pool.submit(execute, job, job.options(compute))] = job
                    left.remove(job)
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                passed = time.monotonic() - begun
                if future.result() == 0:
                    made_later.difference_update(job.outputs)
                else:
                    failed += 1
                    print(f"{passed:6.1f} s  {job.stage} {job.key} failed: {job.log}", flush=True)
                    print("\n".join(Path(job.log).read_text().splitlines()[-5:]), flush=True)
    print(f"{time.monotonic() - begun:.1f} s; {failed} failed, {len(left)} left", flush=True)
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())

"""A run in the middle of its work, for tests of what is shown."""

from pathlib import Path

from cyborgs.common.live import Live
from cyborgs.progress.jobs import Job, Jobs, State
from cyborgs.progress.names import name_of

NOW = 1000.0
METRICS = {"epoch": 3, "loss": 5.2345, "images_per_second": 61.2, "waiting": 0.003}


def live(doing, done, total, unit="steps", since=960.0, **more):
    """What a job says that runs."""
    return Live(doing, unit, done, total, since, NOW, "host", 1, 0.0, **more)


def job(rule, state=State.WAITING, seconds=None, began=None, said=None, **wildcards):
    """A job with the name that its rule gives it."""
    outputs = ["shard-0000-of-0008.h5"] if "shard" in wildcards else []
    return Job(
        rule, name_of(rule, wildcards, outputs), state=state, seconds=seconds, began=began,
        live=said, log=Path("results/demo/logs/job.log"),
    )  # fmt: skip


def half_way():
    """Round 1 is done but for its quality, round 2 trains, rounds 3 and 4 wait."""
    done = State.DONE
    jobs = [job(rule, done, 2.0) for rule in ("configuration", "scenes", "index", "seed_state")]
    jobs += [job("seed_masks", done, 5.0, shard=f"{n:04d}") for n in range(8)]
    jobs += [job("pretrain", done, 60.0, 880.0, round="01")]
    jobs += [job("bootstrap", done, 5.0, 940.0, round="01", shard=f"{n:04d}") for n in range(5)]
    jobs += [
        job("bootstrap", State.RUNNING, None, 990.0, live("bootstrap", 5, 10, "groups", 990.0),
            round="01", shard=f"{n:04d}")
        for n in (5, 6)
    ]  # fmt: skip
    jobs += [job("bootstrap", round="01", shard="0007"), job("quality_made", round="01")]
    training = live("pretrain", 40, 96, metrics=METRICS)
    jobs += [job("pretrain", State.RUNNING, None, 950.0, training, round="02")]
    for number in ("03", "04"):
        jobs += [job("pretrain", round=number), job("quality_made", round=number)]
    jobs += [job("export"), job("report")]
    return Jobs("results/demo", jobs, 850.0)

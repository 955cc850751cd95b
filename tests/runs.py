"""Runs of the workflow, for tests: a tiny configuration, and Snakemake in a folder."""

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]

# Two rounds in about a minute; every stage takes part.
TINY = {
    "run": "tiny",
    "rounds": 2,
    "shards": 2,
    "data": {"scenes": {"images": 13, "height": 64, "width": 96}},
    "model": {"architecture": "resnet18", "hidden": 16, "projection": 8},
    "views": {"crop": 64},
    "pretrain": {"epochs": 1, "batch_size": 4, "masks": 4, "schedule": {"kind": "step"}},
    "bootstrap": {"block": "layer2.1", "group": 3, "clusters": [2, 6], "iterations": 5},
    "quality": {"clusters": [4], "images": 6},
    "compute": {"device": "cpu", "threads": 1, "workers": 0},
}


# Rows of the table of jobs that stand for no job.
TARGETS = ("all", "downstream", "masks", "total")


def start(
    folder, *arguments, config=TINY, stdout=subprocess.PIPE, tools=(), group=False, environment=None
):  # fmt: skip
    """Start the workflow in a folder, with folders of tools on its PATH; returns its process.

    With ``group``, in a process group of its own, as in a terminal; ``environment`` has variables
    beside those that are set.
    """
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    here = Path(sys.executable).parent
    path = [*tools, here, os.environ["PATH"]]
    return subprocess.Popen(
        [
            here / "snakemake", "--snakefile", REPOSITORY / "workflow/Snakefile",
            "--directory", folder, "--cores", "2", *arguments,
            "--configfile", folder / "config.yaml",
        ],
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": ":".join(map(str, path))} | (environment or {}),
        start_new_session=group,
        # Started in the background, these tests ignore Ctrl-C, and all that they start would.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def snakemake(folder, *arguments, config=TINY, check=True, environment=None):
    """Run the workflow in a folder; returns the finished process with its output as text."""
    process = start(folder, *arguments, config=config, environment=environment)
    output, _ = process.communicate()
    if check:
        assert process.returncode == 0, output
    return subprocess.CompletedProcess(process.args, process.returncode, output)


# A dry run in Snakemake's own words.
LISTED = ("--dry-run", "--logger-cyborgs-show", "snakemake")


def planned(folder, *arguments, config=TINY):
    """Names of the jobs that a dry run would start, with their counts."""
    output = snakemake(folder, *LISTED, *arguments, config=config).stdout
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[-1].split("\n\n")[0].splitlines()[3:]
    jobs = {name: int(count) for name, count in (line.split() for line in table)}
    return {name: count for name, count in jobs.items() if name not in TARGETS}


def changed(**sections):
    """The tiny configuration with some keys of some sections changed."""
    config = json.loads(json.dumps(TINY))
    for section, value in sections.items():
        config[section] = {**config[section], **value} if isinstance(value, dict) else value
    return config


def commands(folder):
    """This program's commands that run in a folder: process id, words, and environment."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
            here = (entry / "cwd").samefile(folder)
        except OSError:
            continue
        # Its name comes before a command's; Snakemake's own command line has names of rules in it.
        own = [i for i, (word, _) in enumerate(pairwise(words)) if word.endswith(b"cyborgs")]
        if here and own and not words[own[0] + 1].startswith(b"-"):
            yield int(entry.name), words[own[0] + 1 :], environment

# An experiment: variants of a run, each with several seeds, and what they come to.
#
#   snakemake --snakefile workflow/experiment.smk --configfile experiments/voc2007.yaml --cores all
#
# What to compute, and what runs share, is planned by `cyborgs.experiments.plan`: a rule for each
# job.  Each rule is a command of `cyborgs`, as in a run.

import json
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

from cyborgs.config import read_scalars
from cyborgs.config.experiment import parse_experiment
from cyborgs.data.datasets import require_datasets
from cyborgs.data.listing import require_images
from cyborgs.errors import InputError
from cyborgs.experiments.plan import plan
from cyborgs.experiments.rows import read_rows
from cyborgs.files import require_file
from cyborgs.leaving import leave_with_jobs

min_version("9.0")

try:
    GIVEN = read_scalars(dict(config))
    EXPERIMENT = parse_experiment(GIVEN)
    BASE = EXPERIMENT.base
    if BASE.data.images is not None:
        require_images(
            Path(BASE.data.images),
            BASE.pretrain.batch_size,
            None if BASE.data.list is None else Path(BASE.data.list),
        )
    if BASE.data.annotations is not None:
        require_file(Path(BASE.data.annotations), "base.data.annotations:")
    require_datasets(Path(BASE.downstream.datasets), BASE.downstream.evaluations)
    FINISHED = frozenset(
        row["key"]
        for row in (
            read_rows(Path(EXPERIMENT.finished))
            if EXPERIMENT.finished is not None
            else []
        )
    )
except InputError as error:
    raise WorkflowError(str(error)) from None

PLAN = plan(EXPERIMENT, FINISHED)
COMPUTE = BASE.compute
GPU = 1 if COMPUTE.device == "cuda" else 0
MADE = {path for job in PLAN.jobs for path in job.outputs}
if workflow.is_main_process:
    leave_with_jobs(logger, lambda: workflow.non_local_exec)

# What a job needs; see common.smk.
ENVIRONMENT = "../envs/cpu.yaml"


localrules:
    all,
    summary,


rule all:
    default_target: True
    input:
        f"{PLAN.folder}/experiment.html",


rule summary:
    input:
        [
            str(figures.path)
            for run in PLAN.runs
            for figures in run.figures
            if str(figures.path) in MADE
        ],
    output:
        page=f"{PLAN.folder}/experiment.html",
    log:
        f"{PLAN.folder}/logs/summary.log",
    conda:
        ENVIRONMENT
    params:
        config=lambda wildcards: json.dumps(GIVEN, sort_keys=True),
        # Rows stay when the page is made anew.
        rows=f"{PLAN.folder}/rows.jsonl",
    shell:
        "cyborgs experiment summary --config {params.config:q} --rows {params.rows:q}"
        " --out {output.page:q} > {log:q} 2>&1"


for JOB in PLAN.jobs:

    rule:
        name:
            f"{JOB.stage}_{JOB.key}".replace("-", "_")
        input:
            [path for path in JOB.inputs if not set("{}") & set(path)],
        output:
            JOB.outputs,
        log:
            JOB.log,
        benchmark:
            JOB.cost
        conda:
            ENVIRONMENT
        threads: COMPUTE.threads * (COMPUTE.processes if JOB.trains else 1) if JOB.compute else 1
        resources:
            gpu=GPU * (COMPUTE.processes if JOB.trains else 1) if JOB.compute else 0,
            # Where and how fast is no param: it reruns nothing.
            options=" ".join(JOB.options(COMPUTE)),
        params:
            command=lambda wildcards, words=JOB.command: list(words),
        shell:
            "cyborgs {params.command:q} {resources.options} >> {log:q} 2>&1"

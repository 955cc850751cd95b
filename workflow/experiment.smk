# An experiment: variants of a run, each with several seeds, and their comparison.
#
#   snakemake --snakefile workflow/experiment.smk --configfile experiments/voc2007.yaml --cores all
#
# `cyborgs.experiments.plan` plans what to compute and what runs share.  Each stage has one rule,
# named as in a run; its jobs differ by the key of their output.

import json
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

from cyborgs.config import read_scalars
from cyborgs.config.experiment import parse_experiment
from cyborgs.common.errors import InputError
from cyborgs.experiments.plan import plan
from cyborgs.experiments.rows import read_rows
from cyborgs.progress.plan import announce
from cyborgs.runtime.leaving import leave_with_jobs
from cyborgs.run.inputs import require_inputs, require_weights
from cyborgs.run.provenance import VERSIONS

min_version("9.0")

try:
    GIVEN = read_scalars(dict(config))
    EXPERIMENT = parse_experiment(GIVEN)
    BASE = EXPERIMENT.base
    for ONE in (BASE, *EXPERIMENT.variants.values()):
        require_inputs(ONE)
        if workflow.is_main_process:
            require_weights(ONE)
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
STAGES = {job.stage: {} for job in PLAN.jobs}
for JOB in PLAN.jobs:
    STAGES[JOB.stage][JOB.key, JOB.shard] = JOB
MADE = {path for job in PLAN.jobs for path in job.outputs}
if workflow.is_main_process:
    leave_with_jobs(logger, lambda: workflow.non_local_exec)

# As in common.smk.
shell.prefix("set -euo pipefail; export CYBORGS_LIVE=1; ")

# The libraries that jobs need; see common.smk.
ENVIRONMENT = "../envs/cpu.yaml"


onstart:
    if workflow.is_main_process:
        announce(logger, workflow.dag, Path(PLAN.folder))


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
            str(each.path)
            for run in PLAN.runs
            for each in run.evaluations
            if str(each.path) in MADE
        ],
    output:
        page=f"{PLAN.folder}/experiment.html",
    log:
        f"{PLAN.folder}/logs/summary.log",
    conda:
        ENVIRONMENT
    params:
        config=lambda wildcards: json.dumps(GIVEN, sort_keys=True),
        # Not an output: Snakemake would delete the rows before it makes the page again.
        rows=f"{PLAN.folder}/rows.jsonl",
    shell:
        "cyborgs experiment summary --config {params.config:q} --rows {params.rows:q}"
        " --out {output.page:q} > {log:q} 2>&1"


def job_of(jobs, wildcards):
    # Data are made once, so their files have no wildcards.
    if not wildcards:
        return next(iter(jobs.values()))
    return jobs[wildcards.key, wildcards.get("shard", "")]


for STAGE, JOBS in STAGES.items():
    ONE = next(iter(JOBS.values()))
    KEYED = "{key}" in ONE.patterns[0]

    rule:
        name:
            STAGE.replace("-", "_")
        input:
            # Files with braces in their path cannot be watched.
            lambda wildcards, jobs=JOBS: [
                path
                for path in job_of(jobs, wildcards).inputs
                if not set("{}") & set(path)
            ],
        output:
            ONE.patterns,
        log:
            ONE.log_pattern if KEYED else ONE.log,
        benchmark:
            ONE.cost_pattern if KEYED else ONE.cost
        wildcard_constraints:
            key="|".join({job.key for job in JOBS.values()}),
            shard=r"\d{4}",
        conda:
            ENVIRONMENT
        threads: COMPUTE.threads * (COMPUTE.processes if ONE.trains else 1) if ONE.compute else 1
        resources:
            **(COMPUTE.places if ONE.trains else {"gpu": COMPUTE.gpu * ONE.on_device}),
            # Where and how fast to compute is a resource, so it reruns nothing.
            options=" ".join(ONE.options(COMPUTE)),
        params:
            command=lambda wildcards, jobs=JOBS: list(job_of(jobs, wildcards).command),
            version=[VERSIONS.get(STAGE)],
        shell:
            "cyborgs {params.command:q} {resources.options} >> {log:q} 2>&1"

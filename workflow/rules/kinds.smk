# Each evaluation becomes a rule, by the function of its kind.  Rules written in one loop would not
# work: Snakemake composes a shell command when the job runs, and then the loop's variable is the last
# evaluation.  Do not change the commands: Snakemake would run finished jobs again.


def rule_on_own_images(evaluation):
    """Of frozen features, on the run's own annotated images."""

    rule:
        name:
            f"evaluate_{evaluation.name}"
        input:
            index=INDEX,
            annotations=watched(ANNOTATIONS),
            backbone=backbone_file(evaluation.name),
        output:
            RUN.evaluation(evaluation.name, "{backbone}"),
        log:
            RUN.log(f"downstream/{evaluation.name}/{{backbone}}"),
        wildcard_constraints:
            backbone=backbone_names(evaluation.name),
        conda:
            ENVIRONMENT
        threads: COMPUTE.threads
        resources:
            gpu=GPU,
            compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
        params:
            config=given(CONFIG.only_evaluation(evaluation.name)),
            version=evaluation.version,
            images=given(IMAGES),
            annotations=given(ANNOTATIONS),
            evaluation=evaluation.command,
            backbone=backbone_option(evaluation.name),
        shell:
            "cyborgs evaluate {params.evaluation} --config {params.config:q}"
            " --backbone {params.backbone:q} --images {params.images:q} --index {input.index:q}"
            " --annotations {params.annotations:q} --out {output:q} {resources.compute}"
            " > {log:q} 2>&1"


def rule_on_datasets(evaluation):
    """Of frozen features, on data sets."""

    rule:
        name:
            f"evaluate_{evaluation.name}"
        input:
            backbone=backbone_file(evaluation.name),
        output:
            RUN.evaluation(evaluation.name, "{backbone}"),
        log:
            RUN.log(f"downstream/{evaluation.name}/{{backbone}}"),
        wildcard_constraints:
            backbone=backbone_names(evaluation.name),
        conda:
            ENVIRONMENT
        threads: COMPUTE.threads
        resources:
            gpu=GPU,
            compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
            workers=COMPUTE.workers,
        params:
            config=given(CONFIG.only_evaluation(evaluation.name)),
            version=evaluation.version,
            datasets=given(CONFIG.downstream.datasets),
            backbone=backbone_option(evaluation.name),
        shell:
            f"cyborgs evaluate {evaluation.command} --config {{params.config:q}}"
            " --backbone {params.backbone:q}"
            " --datasets {params.datasets:q} --out {output:q} {resources.compute}"
            " --workers {resources.workers} > {log:q} 2>&1"


def rule_trained(evaluation):
    """Of a network that is trained: a job each seed."""

    rule:
        name:
            f"evaluate_{evaluation.name}"
        input:
            backbone=backbone_file(evaluation.name),
        output:
            RUN.evaluation(evaluation.name, "{backbone}", "{seed}"),
        log:
            RUN.log(f"downstream/{evaluation.name}/{{backbone}}/seed-{{seed}}"),
        benchmark:
            RUN.evaluation_cost(evaluation.name, "{backbone}", "{seed}")
        wildcard_constraints:
            backbone=backbone_names(evaluation.name),
            seed=r"\d+",
        conda:
            ENVIRONMENT
        threads: COMPUTE.threads * COMPUTE.processes
        resources:
            **PLACES,
            compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
            processes=f"--processes {COMPUTE.processes} --nodes {COMPUTE.nodes}",
            workers=COMPUTE.workers,
            minutes=f"--checkpoint-minutes {COMPUTE.checkpoint_minutes}"
            f" --leave-minutes {COMPUTE.leave_minutes}",
        params:
            config=given(CONFIG.only_evaluation(evaluation.name)),
            version=evaluation.version,
            datasets=given(CONFIG.downstream.datasets),
            evaluation=evaluation.command,
            backbone=backbone_option(evaluation.name),
            work=str(RUN.work),
            metrics=str(RUN.evaluation_metrics(evaluation.name, "{backbone}", "{seed}")),
        shell:
            "recall {output:q} {log:q}; "
            "cyborgs evaluate {params.evaluation} --config {params.config:q}"
            " --backbone {params.backbone:q} --datasets {params.datasets:q} --seed {wildcards.seed}"
            " --out {output:q} --work {params.work:q} --metrics {params.metrics:q}"
            " {resources.compute} {resources.processes} --workers {resources.workers}"
            " {resources.minutes} >> {log:q} 2>&1 && remember {output:q}"

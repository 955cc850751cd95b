# Round 0 (the seed), then training and masks in turn; at the end, the backbone.
#
# Settings that change no result (device, processes, threads, workers), or no existing result (how to
# treat a bad image), are resources, not params, so they rerun nothing.  Snakemake records the cost of
# each job (wall time, processor time, memory) in cost/, and training writes the metrics of each epoch
# to metrics/; no result depends on either.


rule seed_state:
    input:
        watched(WEIGHTS),
    output:
        RUN.state(0),
    log:
        RUN.log("seed-state"),
    conda:
        ENVIRONMENT
    params:
        config=given(CONFIG.only("seed", "model")),
        version=VERSIONS["seed-state"],
    shell:
        "cyborgs seed state --config {params.config:q} --out {output:q} > {log:q} 2>&1"


if not CONFIG.seed_masks.from_state:

    rule seed_masks:
        input:
            index=INDEX,
            annotations=(watched(ANNOTATIONS) if CONFIG.seed_masks.annotated else []),
            given=watched(*GIVEN_MASKS),
        output:
            RUN.shard(0, "{shard}", CONFIG.shards),
        log:
            RUN.log("seed-masks/shard-{shard}"),
        benchmark:
            RUN.masks_cost(0, "{shard}")
        conda:
            ENVIRONMENT
        # Jobs of the other kinds mostly write.
        threads: COMPUTE.threads if CONFIG.seed_masks.threaded else 1
        resources:
            bad_image=CONFIG.data.on_bad_image,
        params:
            config=given(CONFIG.only("seed", "shards", "seed_masks", "bootstrap.group")),
            version=VERSIONS[CONFIG.seed_masks.STAGE],
            images=given(IMAGES),
            annotations=given(
                ["--annotations", ANNOTATIONS] if CONFIG.seed_masks.annotated else []
            ),
        shell:
            "cyborgs seed masks --config {params.config:q} --images {params.images:q}"
            " --index {input.index:q} {params.annotations:q} --shard {wildcards.shard}"
            " --threads {threads} --on-bad-image {resources.bad_image} --out {output:q}"
            " > {log:q} 2>&1"


rule pretrain:
    input:
        index=INDEX,
        state=lambda wildcards: RUN.state(int(wildcards.round) - 1),
        masks=lambda wildcards: shards_of(int(wildcards.round) - 1),
    output:
        RUN.state("{round}"),
    log:
        RUN.log("pretrain/round-{round}"),
    benchmark:
        RUN.pretrain_cost("{round}")
    wildcard_constraints:
        round=r"(?!00)\d\d",
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads * COMPUTE.processes
    resources:
        **PLACES,
        compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
        processes=f"--processes {COMPUTE.processes} --nodes {COMPUTE.nodes}",
        workers=COMPUTE.workers,
        compiled={"auto": "", True: "--compile", False: "--no-compile"}[COMPUTE.compile],
        minutes=f"--checkpoint-minutes {COMPUTE.checkpoint_minutes}"
        f" --leave-minutes {COMPUTE.leave_minutes}",
    params:
        config=lambda wildcards: CONFIG.for_round(int(wildcards.round)).only(
            "seed", "model", "views", "pretrain"
        ),
        version=VERSIONS["pretrain"],
        images=given(IMAGES),
        masks=lambda wildcards: shard_pattern(int(wildcards.round) - 1),
        work=str(RUN.work),
        metrics=lambda wildcards: str(RUN.metrics(wildcards.round)),
    shell:
        "recall {output:q} {log:q}; "
        "cyborgs pretrain --config {params.config:q} --round {wildcards.round}"
        " --images {params.images:q} --index {input.index:q} --state {input.state:q}"
        " --masks {params.masks:q} --out {output:q} --work {params.work:q}"
        " --metrics {params.metrics:q}"
        " {resources.compute} {resources.processes}"
        " --workers {resources.workers} {resources.compiled}"
        " {resources.minutes} >> {log:q} 2>&1 && remember {output:q}"


rule bootstrap:
    input:
        index=INDEX,
        state=RUN.state("{round}"),
    output:
        RUN.shard("{round}", "{shard}", CONFIG.shards),
    log:
        RUN.log("bootstrap/round-{round}/shard-{shard}"),
    benchmark:
        RUN.masks_cost("{round}", "{shard}")
    wildcard_constraints:
        round=r"\d\d" if CONFIG.seed_masks.from_state else r"(?!00)\d\d",
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        gpu=GPU,
        compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
        bad_image=CONFIG.data.on_bad_image,
    params:
        config=given(CONFIG.only("seed", "shards", "bootstrap")),
        version=VERSIONS["bootstrap"],
        images=given(IMAGES),
    shell:
        "recall {output:q}; "
        "cyborgs bootstrap --config {params.config:q} --round {wildcards.round}"
        " --images {params.images:q} --index {input.index:q} --state {input.state:q}"
        " --shard {wildcards.shard} --on-bad-image {resources.bad_image} --out {output:q}"
        " {resources.compute} > {log:q} 2>&1 && remember {output:q}"


rule export:
    input:
        RUN.state(CONFIG.rounds),
    output:
        RUN.backbone,
    log:
        RUN.log("export"),
    conda:
        ENVIRONMENT
    params:
        version=VERSIONS["export"],
    shell:
        "cyborgs export --state {input:q} --out {output:q} > {log:q} 2>&1"

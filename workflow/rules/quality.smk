# Comparison of masks with ground truth: as they were made, and at a fixed K to compare rounds.


# Masks of some images from a round's features, clustered at a fixed K.
rule fixed_k:
    input:
        index=INDEX,
        state=RUN.state("{round}"),
    output:
        RUN.fixed_k("{k}", "{round}"),
    log:
        RUN.log("fixed_k/k-{k}/round-{round}"),
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        gpu=GPU,
        compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
        bad_image=CONFIG.data.on_bad_image,
    params:
        config=lambda wildcards: CONFIG.at_fixed_k(int(wildcards.k)).only(
            "seed", "shards", "bootstrap"
        ),
        version=VERSIONS["bootstrap"],
        images=given(IMAGES),
        limit=CONFIG.quality.images,
    shell:
        "cyborgs bootstrap --config {params.config:q} --round {wildcards.round}"
        " --images {params.images:q} --index {input.index:q} --state {input.state:q}"
        " --shard 0 --limit {params.limit} --out {output:q} {resources.compute}"
        " --on-bad-image {resources.bad_image} > {log:q} 2>&1"


rule quality_fixed:
    input:
        index=INDEX,
        annotations=watched(ANNOTATIONS),
        masks=rules.fixed_k.output,
    output:
        RUN.quality("k-{k}", "{round}"),
    log:
        RUN.log("quality/k-{k}/round-{round}"),
    conda:
        ENVIRONMENT
    params:
        version=VERSIONS["quality"],
        annotations=given(ANNOTATIONS),
    shell:
        "cyborgs masks quality {input.masks:q} --index {input.index:q}"
        " --annotations {params.annotations:q} --out {output:q} > {log:q} 2>&1"


rule quality_made:
    input:
        index=INDEX,
        annotations=watched(ANNOTATIONS),
        masks=lambda wildcards: shards_of(int(wildcards.round)),
    output:
        RUN.quality("made", "{round}"),
    log:
        RUN.log("quality/made/round-{round}"),
    conda:
        ENVIRONMENT
    params:
        version=VERSIONS["quality"],
        annotations=given(ANNOTATIONS),
        masks=lambda wildcards: shard_pattern(int(wildcards.round)),
    shell:
        "cyborgs masks quality {params.masks:q} --index {input.index:q}"
        " --annotations {params.annotations:q} --out {output:q} > {log:q} 2>&1"


rule quality_table:
    input:
        fixed=[
            RUN.quality(f"k-{k}", number)
            for k in CONFIG.quality.clusters
            for number in range(CONFIG.rounds + 1)
        ],
        # Only masks that training uses; those of the last round are not used.
        made=[
            RUN.quality("made", number)
            for number in sorted({masks_round(n) for n in range(CONFIG.rounds)})
        ],
    output:
        report(
            RUN.quality_table,
            caption="../report/quality.rst",
            category="Mask quality",
        ),
    log:
        RUN.log("quality/table"),
    conda:
        ENVIRONMENT
    params:
        rows=lambda wildcards, input: [
            *(f"--row 'K = {Path(p).parent.name[2:]}' {p}" for p in input.fixed),
            *(f"--row 'as made' {p}" for p in input.made),
        ],
        version=VERSIONS["quality"],
    shell:
        "cyborgs masks table {params.rows} --out {output:q} > {log:q} 2>&1"

# The story of the run on one page; `snakemake --report` opens with it.


STORY = "story" if Path(RUN, "report.html").exists() else "no-story"


report: f"../report/{STORY}.rst"


rule report:
    input:
        # By name and not as `rules.….output`, for which Snakemake's time grows with the square of
        # the number of shards.
        config=RUN_CONFIG,
        index=INDEX,
        masks=[
            shards_of(n)
            for n in sorted({masks_round(n) for n in range(CONFIG.rounds)})
        ],
        trained=state_of(CONFIG.rounds),
        quality=QUALITY if LABELLED else [],
        downstream=EVALUATED,
    output:
        f"{RUN}/report.html",
    log:
        f"{RUN}/logs/report.log",
    conda:
        ENVIRONMENT
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
        version=VERSIONS["report"],
    shell:
        "cyborgs report {params.folder:q} --out {output:q} > {log:q} 2>&1"

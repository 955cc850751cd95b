# The run on one page; `snakemake --report` opens with it.


STORY = "story" if RUN.report.exists() else "no-story"


report: f"../report/{STORY}.rst"


rule report:
    input:
        # Files are given by name: with `rules.….output`, Snakemake's time would grow with the square
        # of the number of shards.
        config=RUN.config,
        index=INDEX,
        masks=[
            shards_of(n)
            for n in sorted({masks_round(n) for n in range(CONFIG.rounds)})
        ],
        trained=RUN.state(CONFIG.rounds),
        quality=RUN.quality_table if LABELLED else [],
        downstream=EVALUATED,
    output:
        RUN.report,
    log:
        RUN.log("report"),
    conda:
        ENVIRONMENT
    params:
        folder=lambda wildcards, output: Path(output[0]).parent,
        version=VERSIONS["report"],
    shell:
        "cyborgs report {params.folder:q} --out {output:q} > {log:q} 2>&1"

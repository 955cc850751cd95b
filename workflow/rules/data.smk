# The run's configuration, its images and their index.


# The configuration, for the report and for commands that read a run.
rule configuration:
    output:
        report(
            RUN.config,
            caption="../report/configuration.rst",
            category="Configuration",
        ),
    log:
        RUN.log("configuration"),
    conda:
        ENVIRONMENT
    params:
        config=given(CONFIG.only(*RECORDED)),
    shell:
        "cyborgs config {params.config:q} --out {output:q} > {log:q} 2>&1"


if CONFIG.data.scenes is not None:

    rule scenes:
        output:
            annotations=ANNOTATIONS,
            images=directory(IMAGES),
        log:
            RUN.log("scenes"),
        conda:
            ENVIRONMENT
        params:
            config=given(CONFIG.only("data")),
            version=VERSIONS["scenes"],
            folder=lambda wildcards, output: Path(output.annotations).parent,
        shell:
            "cyborgs scenes --config {params.config:q} --out {params.folder:q} > {log:q} 2>&1"


if CONFIG.data.short_side is not None:

    # One rule makes the small images and the index, so that `--forcerun index` searches the folder
    # again.  The small images are not declared as output, because Snakemake would remove those that
    # exist when the job is killed.
    rule index:
        input:
            annotations=watched(CONFIG.data.annotations),
        output:
            index=INDEX,
            names=SMALL / "names",
            summary=SMALL / "summary.json",
            annotations=[ANNOTATIONS] if LABELLED else [],
        log:
            RUN.log("index"),
        conda:
            ENVIRONMENT
        threads: COMPUTE.threads
        resources:
            bad_image=CONFIG.data.on_bad_image,
        params:
            version=[VERSIONS["shrink"], VERSIONS["index"]],
            images=given(CONFIG.data.images),
            options=given(
                [
                    *(["--list", CONFIG.data.list] if CONFIG.data.list else []),
                    *(["--annotations", CONFIG.data.annotations] if LABELLED else []),
                ]
            ),
            short_side=CONFIG.data.short_side,
            folder=str(SMALL),
            small=given(IMAGES),
        shell:
            "(cyborgs data shrink --images {params.images:q} {params.options:q}"
            " --short-side {params.short_side} --threads {threads}"
            " --on-bad-image {resources.bad_image} --out {params.folder:q}"
            " && cyborgs index --images {params.small:q} --list {output.names:q}"
            " --threads {threads} --out {output.index:q}) > {log:q} 2>&1"

else:

    rule index:
        input:
            # The user's images are not an input: the folder is searched again only on demand.
            rules.scenes.output.annotations if CONFIG.data.scenes is not None else [],
        output:
            INDEX,
        log:
            RUN.log("index"),
        conda:
            ENVIRONMENT
        threads: COMPUTE.threads
        resources:
            bad_image=CONFIG.data.on_bad_image,
        params:
            images=given(IMAGES),
            list=given(["--list", LIST] if LIST else []),
            version=VERSIONS["index"],
        shell:
            "cyborgs index --images {params.images:q} {params.list:q} --threads {threads}"
            " --on-bad-image {resources.bad_image} --out {output:q} > {log:q} 2>&1"

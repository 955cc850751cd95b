# CYBORGS as a workflow: what runs, in which order.  `snakemake --cores all` runs the demo;
# `--configfile config/coco.yaml` COCO on GPUs; `--config rounds=4` changes a value.

from snakemake.utils import min_version

min_version("9.0")

# A configuration given on the command line stands alone: the demo's is not mixed into it.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/rounds.smk"
include: "workflow/rules/quality.smk"
include: "workflow/rules/downstream.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/download.smk"


localrules:
    all,
    configuration,
    download_coco,
    download_voc,
    downstream,
    downstream_table,
    masks,
    quality_table,


rule all:
    input:
        RUN.backbone,
        RUN.report,
        RUN.quality_table if LABELLED else [],
        RUN.downstream_table(".tsv") if EVALUATED else [],


# The evaluations that the configuration lists.
rule downstream:
    input:
        RUN.downstream_table(".tsv") if EVALUATED else [],


# Everything, and the masks that the last round's features make.
rule masks:
    input:
        rules.all.input,
        shards_of(CONFIG.rounds),
        RUN.quality("made", CONFIG.rounds) if LABELLED else [],

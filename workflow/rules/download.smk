# Public data sets, on demand: `CYBORGS_ACCEPT_TERMS=1 snakemake download_coco --cores 1`.  Their
# folders are not outputs, because Snakemake would remove existing files before it fetches the rest.


rule download_coco:
    log:
        "datasets/coco.log",
    conda:
        ENVIRONMENT
    shell:
        "cyborgs data download coco --out datasets > {log:q} 2>&1"


rule download_voc:
    log:
        "datasets/voc.log",
    conda:
        ENVIRONMENT
    shell:
        "cyborgs data download voc --out datasets > {log:q} 2>&1"

# What backbones are worth elsewhere.  The data sets are no inputs: their folders are large, and
# their hashes are in the results.


rule evaluate_objects:
    input:
        index=INDEX,
        annotations=watched(ANNOTATIONS),
        backbone=backbone_file("objects"),
    output:
        f"{RUN}/downstream/objects/{{backbone}}.json",
    log:
        f"{RUN}/logs/downstream/objects/{{backbone}}.log",
    wildcard_constraints:
        backbone=backbone_names("objects"),
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        gpu=GPU,
        compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
    params:
        config=given(CONFIG.only_evaluation("objects")),
        version=VERSIONS["evaluate-objects"],
        images=given(IMAGES),
        annotations=given(ANNOTATIONS),
        evaluation="objects",
        backbone=backbone_option("objects"),
    shell:
        "cyborgs evaluate {params.evaluation} --config {params.config:q}"
        " --backbone {params.backbone:q} --images {params.images:q} --index {input.index:q}"
        " --annotations {params.annotations:q} --out {output:q} {resources.compute}"
        " > {log:q} 2>&1"


use rule evaluate_objects as evaluate_segmentation with:
    input:
        index=INDEX,
        annotations=watched(ANNOTATIONS),
        backbone=backbone_file("segmentation"),
    output:
        f"{RUN}/downstream/segmentation/{{backbone}}.json",
    log:
        f"{RUN}/logs/downstream/segmentation/{{backbone}}.log",
    wildcard_constraints:
        backbone=backbone_names("segmentation"),
    params:
        config=given(CONFIG.only_evaluation("segmentation")),
        version=VERSIONS["evaluate-segmentation"],
        images=given(IMAGES),
        annotations=given(ANNOTATIONS),
        evaluation="segmentation",
        backbone=backbone_option("segmentation"),


rule evaluate_voc_svm:
    input:
        backbone=backbone_file("voc_svm"),
    output:
        f"{RUN}/downstream/voc_svm/{{backbone}}.json",
    log:
        f"{RUN}/logs/downstream/voc_svm/{{backbone}}.log",
    wildcard_constraints:
        backbone=backbone_names("voc_svm"),
    conda:
        ENVIRONMENT
    threads: COMPUTE.threads
    resources:
        gpu=GPU,
        compute=f"--device {COMPUTE.device} --threads {COMPUTE.threads}",
        workers=COMPUTE.workers,
    params:
        config=given(CONFIG.only_evaluation("voc_svm")),
        version=VERSIONS["evaluate-voc-svm"],
        datasets=given(CONFIG.downstream.datasets),
        backbone=backbone_option("voc_svm"),
    shell:
        "cyborgs evaluate voc-svm --config {params.config:q} --backbone {params.backbone:q}"
        " --datasets {params.datasets:q} --out {output:q} {resources.compute}"
        " --workers {resources.workers} > {log:q} 2>&1"


rule evaluate_voc_detection:
    input:
        backbone=backbone_file("voc_detection"),
    output:
        f"{RUN}/downstream/voc_detection/{{backbone}}/seed-{{seed}}.json",
    log:
        f"{RUN}/logs/downstream/voc_detection/{{backbone}}/seed-{{seed}}.log",
    benchmark:
        f"{RUN}/cost/downstream/voc_detection/{{backbone}}/seed-{{seed}}.tsv"
    wildcard_constraints:
        backbone=backbone_names("voc_detection"),
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
        config=given(CONFIG.only_evaluation("voc_detection")),
        version=VERSIONS["evaluate-voc-detection"],
        datasets=given(CONFIG.downstream.datasets),
        evaluation="voc-detection",
        backbone=backbone_option("voc_detection"),
        work=f"{RUN}/work",
        metrics=f"{RUN}/metrics/downstream/voc_detection/{{backbone}}/seed-{{seed}}.jsonl",
    shell:
        "recall {output:q} {log:q}; "
        "cyborgs evaluate {params.evaluation} --config {params.config:q}"
        " --backbone {params.backbone:q} --datasets {params.datasets:q} --seed {wildcards.seed}"
        " --out {output:q} --work {params.work:q} --metrics {params.metrics:q}"
        " {resources.compute} {resources.processes} --workers {resources.workers}"
        " {resources.minutes} >> {log:q} 2>&1 && remember {output:q}"


use rule evaluate_voc_detection as evaluate_imagenet_linear with:
    input:
        backbone=backbone_file("imagenet_linear"),
    output:
        f"{RUN}/downstream/imagenet_linear/{{backbone}}/seed-{{seed}}.json",
    log:
        f"{RUN}/logs/downstream/imagenet_linear/{{backbone}}/seed-{{seed}}.log",
    benchmark:
        f"{RUN}/cost/downstream/imagenet_linear/{{backbone}}/seed-{{seed}}.tsv"
    wildcard_constraints:
        backbone=backbone_names("imagenet_linear"),
        seed=r"\d+",
    params:
        config=given(CONFIG.only_evaluation("imagenet_linear")),
        version=VERSIONS["evaluate-imagenet-linear"],
        datasets=given(CONFIG.downstream.datasets),
        evaluation="imagenet-linear",
        backbone=backbone_option("imagenet_linear"),
        work=f"{RUN}/work",
        metrics=f"{RUN}/metrics/downstream/imagenet_linear/{{backbone}}/seed-{{seed}}.jsonl",


use rule evaluate_voc_detection as evaluate_coco_instances with:
    input:
        backbone=backbone_file("coco_instances"),
    output:
        f"{RUN}/downstream/coco_instances/{{backbone}}/seed-{{seed}}.json",
    log:
        f"{RUN}/logs/downstream/coco_instances/{{backbone}}/seed-{{seed}}.log",
    benchmark:
        f"{RUN}/cost/downstream/coco_instances/{{backbone}}/seed-{{seed}}.tsv"
    wildcard_constraints:
        backbone=backbone_names("coco_instances"),
        seed=r"\d+",
    params:
        config=given(CONFIG.only_evaluation("coco_instances")),
        version=VERSIONS["evaluate-coco-instances"],
        datasets=given(CONFIG.downstream.datasets),
        evaluation="coco-instances",
        backbone=backbone_option("coco_instances"),
        work=f"{RUN}/work",
        metrics=f"{RUN}/metrics/downstream/coco_instances/{{backbone}}/seed-{{seed}}.jsonl",


rule downstream_table:
    input:
        EVALUATED,
    output:
        table=report(
            DOWNSTREAM,
            caption="../report/downstream.rst",
            category="Downstream",
        ),
        merged=DOWNSTREAM_JSON,
    log:
        f"{RUN}/logs/downstream/table.log",
    conda:
        ENVIRONMENT
    params:
        version=VERSIONS["evaluate-table"],
    shell:
        "cyborgs evaluate table {input:q} --out {output.table:q} --json {output.merged:q}"
        " > {log:q} 2>&1"

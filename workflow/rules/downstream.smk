# Evaluations of backbones.  The data sets are not inputs, because their folders are large; the
# results contain their hashes.

from cyborgs.evaluation import EVALUATIONS
from cyborgs.evaluation.kinds import OnDatasets, OnOwnImages, Trained


include: "kinds.smk"


for EVALUATION in EVALUATIONS:
    if isinstance(EVALUATION, OnOwnImages):
        rule_on_own_images(EVALUATION)
    elif isinstance(EVALUATION, OnDatasets):
        rule_on_datasets(EVALUATION)
    elif isinstance(EVALUATION, Trained):
        rule_trained(EVALUATION)


rule downstream_table:
    input:
        EVALUATED,
    output:
        table=report(
            RUN.downstream_table(".tsv"),
            caption="../report/downstream.rst",
            category="Downstream",
        ),
        merged=RUN.downstream_table(".json"),
    log:
        RUN.log("downstream/table"),
    conda:
        ENVIRONMENT
    params:
        version=VERSIONS["evaluate-table"],
    shell:
        "cyborgs evaluate table {input:q} --out {output.table:q} --json {output.merged:q}"
        " > {log:q} 2>&1"

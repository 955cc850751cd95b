# The checked configuration, and the names of files.  Nothing is computed here.

import re
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

from cyborgs.config import parse_run, read_scalars
from cyborgs.common.errors import InputError
from cyborgs.common.files import absence, require_outputs
from cyborgs.runtime.leaving import leave_with_jobs
from cyborgs.images.changes import changed_images
from cyborgs.progress.plan import announce
from cyborgs.run.paths import Run
from cyborgs.run.inputs import require_inputs, require_weights
from cyborgs.run.provenance import VERSIONS
from cyborgs.tracking.following import start_trackers
from cyborgs.tracking.sending import require_trackers

update_config(config, read_scalars(dict(workflow.config_settings.config)))
try:
    CONFIG = parse_run(config)
    RUN = Run(Path("results", CONFIG.run))
    INDEX = str(RUN.index)
    for folder in (RUN.folder.parent, RUN.folder):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"results: {folder} {absence(folder, 'folder')}")
    SMALL = RUN.small(CONFIG.data.short_side)
    # Which of the images, where not all.
    LIST = CONFIG.data.list
    GIVEN_MASKS = require_inputs(CONFIG)
    WEIGHTS = CONFIG.model.weights_file
    if workflow.is_main_process:
        require_weights(CONFIG)
        require_trackers(CONFIG.compute.trackers)
    if CONFIG.data.images is not None:
        # Nothing reruns because of them, but nobody should believe that they take part.
        if workflow.is_main_process and Path(INDEX).is_file():
            changed = changed_images(
                Path(CONFIG.data.images),
                None if LIST is None else Path(LIST),
                Path(INDEX),
                None if CONFIG.data.short_side is None else SMALL / "summary.json",
            )
            if changed:
                logger.warning(changed)
except InputError as error:
    raise WorkflowError(str(error)) from None

BEGUN = time.time()
if workflow.is_main_process:
    leave_with_jobs(logger, lambda: workflow.non_local_exec)

LABELLED = CONFIG.data.labelled
COMPUTE = CONFIG.compute
GPU = COMPUTE.gpu
PLACES = COMPUTE.places
# What a run's configuration says, without where it is computed.
RECORDED = sorted(set(type(CONFIG).model_fields) - {"compute"})

if CONFIG.data.scenes is not None:
    IMAGES, ANNOTATIONS = f"{RUN.scenes}/images", f"{RUN.scenes}/annotations.json"
elif CONFIG.data.short_side is not None:
    IMAGES, LIST = f"{SMALL}/images", f"{SMALL}/names"
    ANNOTATIONS = f"{SMALL}/annotations.json" if LABELLED else None
else:
    IMAGES, ANNOTATIONS = CONFIG.data.images, CONFIG.data.annotations

# What evaluations measure: for each, the names of its backbones, and what they are.
BACKBONES = {
    name: RUN.backbones(name, CONFIG) for name in CONFIG.downstream.evaluations
}
EVALUATED = RUN.evaluations(CONFIG)

# Snakemake removes a job's log and output before it starts the job again.  Under a second, hidden
# name they live on: a log tells of the job from its beginning, and what a job finished that outlived
# Snakemake is at hand.  The command keeps it where it is whole and made from the present inputs.
shell.prefix(
    "set -euo pipefail; "
    # What a job does is told beside its log while it runs (cyborgs/common/live.py).
    "export CYBORGS_LIVE=1; "
    'second() {{ echo "$(dirname "$1")/.$(basename "$1")"; }}; '
    # Who ends all processes at once ends this shell last.
    "trap : HUP TERM; "
    'remember() {{ ln -f "$1" "$(second "$1")" 2> /dev/null || true; }}; '
    'recall() {{ for name; do if [ -e "$(second "$name")" ]; then'
    ' ln -f "$(second "$name")" "$name" 2> /dev/null || true; fi; done;'
    ' if [ $# = 2 ]; then touch "$2"; remember "$2"; fi; }}; '
)

# What a job needs.  Jobs run in the environment that Snakemake was started in (the package
# itself is on no conda channel); this tells readers, and Snakemake's linter, what is in it.
ENVIRONMENT = "../../envs/cpu.yaml"


wildcard_constraints:
    round=r"\d\d",
    shard=r"\d{4}",


# A value as it is, for params: Snakemake would take braces in a user's path for wildcards.
def given(value):
    return lambda wildcards: value


# Files of the user's, as input.  Those with braces in their path cannot be: Snakemake does not see
# when they change.
def watched(*paths):
    return [path for path in paths if path and not set("{}") & set(str(path))]


# Those of round 0 for every round, where none are made from features.
def masks_round(number):
    return 0 if CONFIG.pretrain.fixed_masks else number


def shards_of(number):
    number = masks_round(number)
    shards = range(CONFIG.shards)
    return [RUN.shard(number, shard, CONFIG.shards) for shard in shards]


# Names of the backbones that an evaluation measures, as a pattern.
def backbone_names(name):
    return "|".join(map(re.escape, BACKBONES.get(name, {}))) or r"(?!)"


# The file of a backbone that is evaluated; none where it is random or ImageNet's.
def backbone_file(name):
    def file(wildcards):
        backbone = BACKBONES[name][wildcards.backbone]
        return [] if backbone in ("random", "imagenet") else watched(backbone)

    return file


# What the command line calls it.
def backbone_option(name):
    def option(wildcards):
        backbone = BACKBONES[name][wildcards.backbone]
        if backbone in ("random", "imagenet"):
            return [backbone, "--architecture", CONFIG.model.architecture]
        return [backbone]

    return option


# A pattern instead of a list: thousands of shards do not fit a command line.
def shard_pattern(number):
    return str(RUN.shard(masks_round(number), "*", CONFIG.shards))


# These are also run in each job of a cluster, where others are still at work.
onstart:
    if workflow.is_main_process:
        require_outputs({"results": Path(INDEX)}, [])
        announce(logger, workflow.dag, RUN.folder)
        settings = workflow.dag_settings
        if settings.forceall or settings.forcerun or settings.forcetargets:
            RUN.forget_second_names()
        start_trackers(COMPUTE.trackers, RUN.folder)


# Snakemake has seen all jobs of its own end.  What outlived another Snakemake is older.
onsuccess:
    if workflow.is_main_process:
        RUN.forget_second_names(since=BEGUN)

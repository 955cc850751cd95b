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
    # A file that lists the images to use, or None for all.
    LIST = CONFIG.data.list
    GIVEN_MASKS = require_inputs(CONFIG)
    WEIGHTS = CONFIG.model.weights_file
    if workflow.is_main_process:
        require_weights(CONFIG)
        require_trackers(CONFIG.compute.trackers)
    if CONFIG.data.images is not None:
        # New images cause no rerun, so say that the run does not use them.
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
# All sections of the configuration except `compute`.
RECORDED = sorted(set(type(CONFIG).model_fields) - {"compute"})

if CONFIG.data.scenes is not None:
    IMAGES, ANNOTATIONS = f"{RUN.scenes}/images", f"{RUN.scenes}/annotations.json"
elif CONFIG.data.short_side is not None:
    IMAGES, LIST = f"{SMALL}/images", f"{SMALL}/names"
    ANNOTATIONS = f"{SMALL}/annotations.json" if LABELLED else None
else:
    IMAGES, ANNOTATIONS = CONFIG.data.images, CONFIG.data.annotations

# The backbones of each evaluation: their names and what they are.
BACKBONES = {
    name: RUN.backbones(name, CONFIG) for name in CONFIG.downstream.evaluations
}
EVALUATED = RUN.evaluations(CONFIG)

# Before Snakemake restarts a job, it removes the job's log and output.  A second, hidden name (a
# hard link) preserves both: the log continues, and an output that a job finished after Snakemake
# was killed is not lost.  The command keeps that output if it is complete and made from the current
# inputs.
shell.prefix(
    "set -euo pipefail; "
    # While a job runs, it writes its progress beside its log (cyborgs/common/live.py).
    "export CYBORGS_LIVE=1; "
    'second() {{ echo "$(dirname "$1")/.$(basename "$1")"; }}; '
    # A signal to all processes must not end this shell before the command has saved.
    "trap : HUP TERM; "
    'remember() {{ ln -f "$1" "$(second "$1")" 2> /dev/null || true; }}; '
    'recall() {{ for name; do if [ -e "$(second "$name")" ]; then'
    ' ln -f "$(second "$name")" "$name" 2> /dev/null || true; fi; done;'
    ' if [ $# = 2 ]; then touch "$2"; remember "$2"; fi; }}; '
)

# The libraries that jobs need, for readers and for Snakemake's linter.  Jobs run in the environment
# in which Snakemake was started, because this package is on no conda channel.
ENVIRONMENT = "../../envs/cpu.yaml"


wildcard_constraints:
    round=r"\d\d",
    shard=r"\d{4}",


# A value for params, passed as a function: in a plain string, Snakemake would read braces in a
# user's path as wildcards.
def given(value):
    return lambda wildcards: value


# The user's files, as input.  Paths with braces are left out, because Snakemake would read wildcards
# in them; it does not notice when those files change.
def watched(*paths):
    return [path for path in paths if path and not set("{}") & set(str(path))]


# The round whose masks are used: always 0 if all rounds train on the seed masks.
def masks_round(number):
    return 0 if CONFIG.pretrain.fixed_masks else number


def shards_of(number):
    number = masks_round(number)
    shards = range(CONFIG.shards)
    return [RUN.shard(number, shard, CONFIG.shards) for shard in shards]


# Names of an evaluation's backbones, as a regular expression.
def backbone_names(name):
    return "|".join(map(re.escape, BACKBONES.get(name, {}))) or r"(?!)"


# The file of a backbone; none for random and ImageNet weights.
def backbone_file(name):
    def file(wildcards):
        backbone = BACKBONES[name][wildcards.backbone]
        return [] if backbone in ("random", "imagenet") else watched(backbone)

    return file


# The arguments that name the backbone on the command line.
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


# Each job of a cluster reads this file too, while other jobs are still running.
onstart:
    if workflow.is_main_process:
        require_outputs({"results": Path(INDEX)}, [])
        announce(logger, workflow.dag, RUN.folder)
        settings = workflow.dag_settings
        if settings.forceall or settings.forcerun or settings.forcetargets:
            RUN.forget_second_names()
        start_trackers(COMPUTE.trackers, RUN.folder)


# All jobs of this Snakemake have ended, so their second names can go.  Older ones belong to jobs of
# an earlier Snakemake.
onsuccess:
    if workflow.is_main_process:
        RUN.forget_second_names(since=BEGUN)

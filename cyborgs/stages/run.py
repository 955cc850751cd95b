"""Command `run`: the whole loop on a folder of photographs, or by a configuration.

It chooses settings where none are set, keeps them in a file of the run, and starts the workflow
from that file: nothing is known to it that plain Snakemake does not know.
"""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import Any

from cyborgs import __version__
from cyborgs.common.errors import InputError
from cyborgs.common.files import absence, atomic_write, require_outputs
from cyborgs.config import Config, parse_run
from cyborgs.config.choosing import Chosen, Hardware, Images, choose
from cyborgs.config.commented import commented
from cyborgs.config.estimate import approximately, seconds_of
from cyborgs.config.overriding import nested, override, paths, value_at
from cyborgs.config.reading import load_mapping
from cyborgs.images.decoding import size_of
from cyborgs.images.listing import names_of
from cyborgs.run.inputs import require_inputs, require_weights
from cyborgs.run.paths import Run, run_name
from cyborgs.run.workflow import environment, snakemake_arguments, snakemake_command
from cyborgs.runtime.standing_in import stand_in

# Images whose sizes are looked at.
_SAMPLE = 64

# What a cluster's job is taken to compute on: its GPUs cannot be looked at from here.
_CLUSTER = Hardware(cores=8, memory=16_000_000_000, name="a GPU of 16 GB, assumed for SLURM")

# Profiles that hand out GPUs: jobs must ask for theirs.
_SHARING = ("slurm", "workstation")

_HEAD = (
    "# Settings of this run, by cyborgs {version}: `cyborgs run` and Snakemake start from here.\n"
)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        source: folder of photographs, or configuration.
        given: values that are set on the command line, by the paths of their keys.
        name: of the run; None: the folder's.
        profile: of Snakemake.
        more: arguments for Snakemake.
    """

    source: Path
    given: Mapping[str, Any]
    name: str | None = None
    profile: str = "default"
    more: Sequence[str] = ()


@dataclass(frozen=True)
class _Plan:
    """What will run.

    Attributes:
        config: checked.
        file: of the configuration.
        content: what to write into it; None: nothing.
        told: how the settings came about, lines.
    """

    config: Config
    file: Path
    content: str | None
    told: list[str] = field(default_factory=list)

    @property
    def run(self) -> Run:
        return Run(Path("results", self.config.run))


def start(request: Request) -> int:
    """Run it, or go on with it; returns Snakemake's exit status.

    Raises:
        InputError: images, settings, a profile or a folder that cannot be used.
    """
    plan = _plan(request)
    arguments = snakemake_arguments(plan.file, request.profile, request.more)
    _say(_settings_lines(plan))
    if plan.content is not None:
        plan.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(plan.file) as temporary:
            temporary.write_text(plan.content, encoding="utf-8")
    _say([_command_line(arguments)])
    path = os.environ.get("PATH", os.defpath)
    status = stand_in(snakemake_command(arguments), environment(path))
    made = {
        "report": plan.run.report,
        "backbone": plan.run.backbone,
        "masks": plan.run.folder / "masks",
    }
    if status == 0 and all(path.exists() for path in made.values()):
        _say([f"{name + ':':<10}{path}" for name, path in made.items()])
    return status


def dry_run(request: Request) -> int:
    """Say in at most ten lines what `start` would do, and about how long.

    No file of the run is written.

    Returns Snakemake's exit status, and raises as `start`.
    """
    plan = _plan(request)
    arguments = snakemake_arguments(plan.file, request.profile, request.more)
    with tempfile.TemporaryDirectory() as folder:
        file = plan.file
        if plan.content is not None:
            file = Path(folder, "run.yaml")
            file.write_text(plan.content, encoding="utf-8")
        dry = snakemake_arguments(file, request.profile, request.more)
        dry += ["--dry-run", "--logger-cyborgs-show", "snakemake"]
        done = subprocess.run(
            snakemake_command(dry), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    if done.returncode:
        print(done.stdout, end="")
        return done.returncode
    jobs = _jobs(done.stdout)
    _say(_settings_lines(plan))
    _say([_jobs_line(jobs), _time_line(plan, jobs, request), _command_line(arguments)])
    return 0


def _plan(request: Request) -> _Plan:
    source = request.source
    try:
        folder, there = source.is_dir(), source.exists()
    except PermissionError:
        raise InputError(f"{source}: cannot be read: no permission") from None
    if folder:
        plan = _of_photographs(request)
    elif there and source.is_file() and source.suffix.lower() in (".yaml", ".yml", ".json"):
        plan = _of_configuration(request)
    else:
        kind = "folder of photographs, or a configuration (.yaml)"
        raise InputError(f"{source} {absence(source, kind)}")
    require_outputs({"results": plan.run.index}, [])
    require_inputs(plan.config)
    require_weights(plan.config)
    return plan


def _of_configuration(request: Request) -> _Plan:
    """The run of a configuration, which says everything: nothing is chosen."""
    file = request.source
    mapping = load_mapping(str(file))
    config = parse_run(mapping)
    if request.name is not None and request.name != config.run:
        raise InputError(f"--name {request.name}: {file} has run: {config.run}; change it there")
    # Finds keys that there are not.
    parse_run(override(mapping, request.given))
    everything = config.model_dump()
    for key, value in request.given.items():
        if value_at(everything, key) != value:
            raise InputError(
                f"{key}: {value} on the command line, but {value_at(everything, key)} by {file}; "
                "change it there"
            )
    return _Plan(config, file, None, [f"settings: from {file}"])


def _of_photographs(request: Request) -> _Plan:
    """The run of a folder: as it was begun, or by settings that are chosen now."""
    for key, instead in {"run": "--name", "data.images": "the folder itself"}.items():
        if key in request.given:
            raise InputError(f"--set {key}: use {instead}")
    photographs = request.source
    name = request.name or run_name(photographs.resolve().name)
    run = Run(Path("results", name))
    if Path("results").resolve().is_relative_to(photographs.resolve()):
        raise InputError(
            f"{photographs}: results/ would be inside it, and its pictures would be used as "
            "photographs; start in another folder"
        )
    if run.settings.is_file():
        return _continued(request, run)
    if run.config.is_file():
        raise InputError(
            f"{run.folder} is a run of another configuration and has no {run.settings.name}; "
            "continue with `cyborgs run CONFIG.yaml`, or choose another --name"
        )
    hardware = _hardware(request)
    chosen = choose(_look_at(photographs), hardware, request.given)
    values = {"run": name, "data.images": str(photographs)} | paths(chosen.settings)
    if request.profile in _SHARING and hardware.memory is not None:
        values["compute.device"] = "cuda"
    mapping = override(nested(values), request.given)
    told = [f"{key}: {line}" for key, line in chosen.lowered.items() if key not in request.given]
    config = parse_run(mapping)
    told.append(f"settings: chosen, and kept with the reasons in {run.settings}")
    return _Plan(config, run.settings, _content(mapping, chosen, request.given), told)


def _continued(request: Request, run: Run) -> _Plan:
    """A run that was begun: by the settings that it has, and those that are given now."""
    file = run.settings
    version = _version_of(file)
    try:
        mapping = load_mapping(str(file))
        config = parse_run(mapping)
    except InputError as error:
        by = f" It was written by cyborgs {version}, this is {__version__}:" if version else ""
        first = str(error).splitlines()[0]
        raise InputError(f"{file} cannot be used.{by} {first}; or choose another --name") from None
    images = config.data.images if config.data is not None else None
    if images is None or os.path.realpath(images) != os.path.realpath(request.source):
        raise InputError(
            f"{run.folder} is a run of {images or 'drawn scenes'}, not of {request.source}; choose "
            "another --name"
        )
    told = []
    if version not in (None, __version__):
        told.append(
            f"begun by cyborgs {version}, this is {__version__}: jobs whose results changed "
            "between these versions run again"
        )
    changed = {k: v for k, v in request.given.items() if value_at(config.model_dump(), k) != v}
    if not changed:
        told.append(f"settings: from {file}, as the run was begun (or changed there)")
        return _Plan(config, file, None, told)
    before = _chosen_before(request, mapping)
    after = before
    if changed.keys() & {"model.architecture", "pretrain.epochs"}:
        # All rounds run again: what followed from these, and nobody changed, follows once more.
        begun = {key: value_at(mapping, key) for key in ("rounds", "pretrain.epochs")}
        after = choose(_look_at(request.source), _hardware(request), begun | changed)
        old, new = paths(before.settings), paths(after.settings)
        for key in old.keys() | new.keys():
            if old.get(key) == value_at(mapping, key) and key != "data.short_side":
                values = paths(mapping)
                values.pop(key, None)
                mapping = nested(values | ({key: new[key]} if key in new else {}))
    mapping = override(mapping, changed)
    config = parse_run(mapping)
    told.append(f"settings: from {file}, with {', '.join(changed)} changed")
    schedule = config.pretrain.schedule
    epochs = sum(config.pretrain.epochs_of_rounds(config.rounds))
    if schedule.kind == "cosine" and epochs > schedule.horizon_epochs:
        told.append(
            f"pretrain.schedule.horizon_epochs: {schedule.horizon_epochs} of {epochs} epochs; "
            "after them the learning rate is almost 0 (a larger one trains all rounds again)"
        )
    return _Plan(config, file, _content(mapping, after, request.given), told)


def _chosen_before(request: Request, mapping: Mapping[str, Any]) -> Chosen:
    """What would be chosen for the run as it was begun: which of its settings nobody changed."""
    keys = ("rounds", "pretrain.epochs", "model.architecture")
    begun = {key: value_at(mapping, key) for key in keys}
    return choose(_look_at(request.source), _hardware(request), begun)


def _content(mapping: Mapping[str, Any], chosen: Chosen, given: Mapping[str, Any]) -> str:
    """The file of the run: each value with the reason for which it was chosen."""
    values = paths(chosen.settings)
    reasons = {
        key: reason
        for key, reason in chosen.reasons.items()
        if values.get(key) == value_at(mapping, key)
    }
    reasons |= dict.fromkeys(given, "given on the command line")
    return _HEAD.format(version=__version__) + commented(mapping, reasons)


def _version_of(file: Path) -> str | None:
    """The version that wrote a file of settings; None where it does not say."""
    found = re.match(r"# .* by cyborgs (\S+):", file.read_text(encoding="utf-8", errors="replace"))
    return found.group(1) if found else None


def _look_at(folder: Path) -> Images:
    """How many images a folder holds, and their median size (of some of them)."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise InputError(f"{folder}: its name is not UTF-8, as a configuration is") from None
    names = names_of(folder)
    sizes = []
    for name in names[:: max(1, len(names) // _SAMPLE)]:
        try:
            sizes.append(size_of(folder / name))
        except InputError:
            # The index names broken images, or lists them (`data.on_bad_image`).
            continue
    if not sizes:
        raise InputError(
            f"data.images: none of the images in {folder} can be decoded; `cyborgs data check "
            f"{folder}` lists what is there"
        )
    return Images(
        len(names), median_low(height for height, _ in sizes), median_low(w for _, w in sizes)
    )


def _hardware(request: Request) -> Hardware:
    """What will compute: this machine, or what a cluster is taken to give."""
    if request.profile == "slurm":
        return _CLUSTER
    # Heavy.
    import torch

    from cyborgs.runtime.hardware import TRAINING, choose_device, describe, native_precisions

    device = choose_device(str(request.given.get("compute.device", "auto")))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Hardware(
        cores=cores or 1,
        memory=torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None,
        half=any(precision in TRAINING for precision in native_precisions(device)),
        name=describe(device),
    )


def _settings_lines(plan: _Plan) -> list[str]:
    config, pretrain = plan.config, plan.config.pretrain
    low, high = config.bootstrap.clusters
    assert config.data is not None  # checked with the configuration
    images = config.data.images or f"{config.data.scenes and config.data.scenes.images} scenes"
    epochs = pretrain.epochs
    return [
        f"run:      {plan.run.folder}, of {images}",
        f"train:    {config.model.architecture}, rounds: {config.rounds}, epochs of each: "
        f"{epochs}, batch: {pretrain.batch_size}, views: {config.views.crop} pixels",
        f"masks:    {config.seed_masks.kind}, then K from {low} to {high} at "
        f"{config.bootstrap.block}, shards: {config.shards}",
        *plan.told,
    ]


def _jobs(output: str) -> dict[str, int]:
    """Jobs by rule, from what Snakemake says of a dry run."""
    if "Job stats:" not in output:
        return {}
    table = output.split("Job stats:")[-1].split("\n\n")[0].splitlines()[3:]
    counts = {name: int(count) for name, count in (line.split() for line in table)}
    return {name: count for name, count in counts.items() if name not in ("all", "total")}


def _jobs_line(jobs: Mapping[str, int]) -> str:
    if not jobs:
        return "jobs:     none; everything is done"
    most = sorted(jobs.items(), key=lambda item: -item[1])
    return f"jobs:     {sum(jobs.values())}: " + ", ".join(f"{n} {name}" for name, n in most)


def _time_line(plan: _Plan, jobs: Mapping[str, int], request: Request) -> str:
    if not jobs:
        return "time:     none"
    config = plan.config
    assert config.data is not None  # checked with the configuration
    if config.data.scenes is not None:
        scenes = config.data.scenes
        images = Images(scenes.images, scenes.height, scenes.width)
    else:
        images = _look_at(Path(config.data.images or ""))
    hardware = _hardware(request)
    seconds = seconds_of(config, images, hardware, sum(jobs.values()))
    if seconds is None:
        return f"time:     not known: {config.model.architecture} has not been measured"
    begun = "pretrain" not in jobs or jobs["pretrain"] < config.rounds
    return (
        f"time:     about {approximately(seconds)} for the whole run, an estimate for "
        f"{hardware.name}" + (" (part of it is done)" if begun else "")
    )


def _command_line(arguments: Sequence[str]) -> str:
    return f"same as:  {shlex.join(['snakemake', *arguments])}"


def _say(lines: Sequence[str]) -> None:
    # Before what Snakemake says.
    print("\n".join(lines), flush=True)

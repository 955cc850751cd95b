"""An experiment: variants of a run, each with several seeds, and what they are compared with."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from cyborgs.common.errors import InputError
from cyborgs.common.section import Section
from cyborgs.config.reading import load_mapping, parse_run
from cyborgs.config.schema import Config
from cyborgs.evaluation import EVALUATIONS
from cyborgs.evaluation.kinds import Trained

# The weights that training begins with: in every experiment, without being listed.
INITIAL = "initial"

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

# Must be equal in all variants, or their metrics could not be compared.
_SHARED = ("data", "downstream", "rounds", "quality", "compute", "run", "seed", "shards")


class ExperimentSection(Section):
    """The file of an experiment."""

    experiment: str = Field(pattern=_NAME, description="name: all files are in results/<name>")
    seeds: list[int] = Field(
        [0, 1, 2], min_length=1, description="each variant runs once with each seed"
    )
    intervals: bool = Field(
        True, description="give 95 % intervals of differences, which needs two seeds or more"
    )
    baselines: list[str] = Field(
        [INITIAL],
        min_length=1,
        description="what each variant is compared with: other variants, or "
        f"{INITIAL}, the weights that training begins with",
    )
    every_round: bool = Field(
        True, description="evaluate the backbone after each round; false: only after the last"
    )
    finished: str | None = Field(
        None,
        description="file of rows (JSON lines) of runs that were finished elsewhere or earlier: "
        "these runs are not repeated",
    )
    base: dict[str, Any] = Field(description="configuration of a run that all variants share")
    variants: dict[str, dict[str, Any] | None] = Field(
        min_length=1, description="name of each variant, and what it changes in the configuration"
    )


@dataclass(frozen=True)
class Experiment:
    """An experiment that was checked.

    Attributes:
        name: of the experiment.
        seeds: of its runs.
        intervals: whether differences get intervals.
        baselines: what variants are compared with.
        every_round: whether each round's backbone is evaluated.
        finished: file of rows from elsewhere, or None.
        base: the configuration that all variants share, with the first seed.
        variants: each variant's configuration with the first seed.
        overrides: what each variant changes.
    """

    name: str
    seeds: tuple[int, ...]
    intervals: bool
    baselines: tuple[str, ...]
    every_round: bool
    finished: str | None
    base: Config
    variants: dict[str, Config]
    overrides: dict[str, dict[str, Any]]


def parse_experiment(mapping: Any) -> Experiment:
    """Check an experiment.

    Raises:
        InputError: a line for each mistake: unknown keys, a variant that changes the data or what
            is measured, one seed where intervals are asked for, an unknown baseline.
    """
    if not isinstance(mapping, Mapping):
        raise InputError("experiment: must be a mapping of keys to values")
    try:
        given = ExperimentSection.model_validate(dict(mapping))
    except ValidationError as error:
        raise InputError("\n".join(_explain(item) for item in error.errors())) from None
    overrides = {name: own or {} for name, own in given.variants.items()}
    problems = _contradictions(given)
    for name, own in overrides.items():
        problems += [
            f"variants.{name}: changes {key}, which must be the same in all variants; set it in "
            "'base', or make it an experiment of its own"
            for key in own
            if key in _SHARED
        ]
    if problems:
        raise InputError("\n".join(f"experiment: {problem}" for problem in problems))
    # An experiment's seeds repeat whole runs, so each run evaluates with one seed.
    settled = {"run": given.experiment, "seed": given.seeds[0], "downstream": {"seeds": 1}}
    shared = merged(given.base, settled)
    base = _parsed("base", shared)
    if base.compute.trackers:
        raise InputError(
            "experiment: base.compute.trackers: runs of an experiment share rounds, and are "
            "sent to no tracker; leave it out (rows.jsonl has their metrics)"
        )
    variants = {n: _parsed(f"variants.{n}", merged(shared, own)) for n, own in overrides.items()}
    return Experiment(
        given.experiment,
        tuple(given.seeds),
        given.intervals,
        tuple(given.baselines),
        given.every_round,
        given.finished,
        base,
        variants,
        overrides,
    )


def load_experiment(text: str) -> Experiment:
    """The experiment from a YAML file's path, or from JSON text that begins with ``{``."""
    return parse_experiment(load_mapping(text))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what ``changes`` says instead, section by section.

    A section of another `kind` replaces the whole section: its keys would not fit.
    """
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = value
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            kind = old.get("kind")
            if value.get("kind", kind) == kind:
                result[key] = merged(old, value)
    return result


def _parsed(where: str, mapping: dict[str, Any]) -> Config:
    try:
        return parse_run(mapping)
    except InputError as error:
        lines = [line.removeprefix("config: ") for line in str(error).splitlines()]
        raise InputError("\n".join(f"experiment: {where}.{line}" for line in lines)) from None


def _contradictions(given: ExperimentSection) -> list[str]:
    found = []
    if len(set(given.seeds)) < len(given.seeds):
        found.append("seeds: names one twice")
    if min(given.seeds) < 0:
        found.append("seeds: must be 0 or more")
    if given.intervals and len(given.seeds) < 2:
        found.append("seeds: one seed has no spread; give two or more, or set intervals to false")
    if INITIAL in given.variants:
        found.append(f"variants.{INITIAL}: is the name of the initial weights; choose another")
    for name in given.variants:
        if not _is_name(name):
            found.append(f"variants.{name}: a name has letters, digits, '.', '_' and '-' alone")
    known = [INITIAL, *given.variants]
    for name in given.baselines:
        if name not in known:
            found.append(f"baselines: there is no variant {name} (there are: {', '.join(known)})")
    for key in ("run", "seed"):
        if key in given.base:
            found.append(
                f"base.{key}: is the experiment's to set (experiment, seeds); leave it out"
            )
    downstream = given.base.get("downstream") or {}
    if isinstance(downstream, Mapping):
        evaluations = downstream.get("evaluations") or []
        trained = [evaluation.name for evaluation in EVALUATIONS if isinstance(evaluation, Trained)]
        if not evaluations:
            found.append("base.downstream.evaluations: names none, so nothing could be compared")
        found += [
            f"base.downstream.evaluations: {name} trains networks for days; experiments have "
            "evaluations of frozen features alone"
            for name in evaluations
            if name in trained
        ]
        if downstream.get("seeds", 1) != 1:
            found.append(
                "base.downstream.seeds: the experiment's seeds repeat everything; leave it out"
            )
        for name, section in downstream.items():
            if isinstance(section, Mapping) and "backbones" in section:
                found.append(
                    f"base.downstream.{name}.backbones: the experiment chooses them; leave it out"
                )
    return found


def _is_name(text: str) -> bool:

    return re.match(_NAME, text) is not None


def _explain(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        allowed = ", ".join(ExperimentSection.model_fields)
        return f"experiment: {where}: unknown key (allowed: {allowed})"
    if item["type"] == "missing":
        return f"experiment: {where}: missing"
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"experiment: {where}: {message}, got {item['input']!r}"

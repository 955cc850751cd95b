"""Reading a configuration: from a file, from JSON text, from Snakemake; refusing what is wrong."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cyborgs.bootstrap.settings import require_faiss
from cyborgs.common.errors import InputError
from cyborgs.common.files import absence, atomic_write
from cyborgs.common.progress import say
from cyborgs.config.schema import Config
from cyborgs.evaluation.kinds import OnOwnImages, Trained
from cyborgs.models.backbones import place_of
from cyborgs.pretraining.settings import check_cells
from cyborgs.runtime.settings import check_batch

# Keys by the names that earlier versions had, and what must stand beside the new ones.
RENAMED: dict[str, tuple[str, dict[str, str]]] = {
    "pretrain.temperature": ("pretrain.objective.temperature", {"kind": "detcon-b"}),
    "pretrain.local_negatives": ("pretrain.objective.local_negatives", {"kind": "detcon-b"}),
    "pretrain.base_rate": ("pretrain.base_learning_rate", {}),
    "pretrain.schedule.final_rate": ("pretrain.schedule.final_learning_rate", {}),
    "pretrain.lars.trust": ("pretrain.lars.trust_coefficient", {}),
    "downstream.imagenet_linear.rate": ("downstream.imagenet_linear.learning_rate", {}),
    "downstream.voc_detection.rate": ("downstream.voc_detection.learning_rate", {}),
    "downstream.coco_instances.rate": ("downstream.coco_instances.learning_rate", {}),
}


def parse(mapping: Any) -> Config:
    """Check a mapping, or a part of one, against the schema.

    Keys that have a new name are read by their old one too, and said.

    Raises `InputError`, a line for each mistake: the key's path, what is wrong, what is allowed.
    """
    if not isinstance(mapping, Mapping):
        raise InputError("config: must be a mapping of keys to values")
    try:
        return Config.model_validate(_with_new_names(mapping))
    except ValidationError as error:
        raise InputError("\n".join(_explain(item) for item in error.errors())) from None


def _with_new_names(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which the keys of `RENAMED` stand under their new names."""
    found = _copied(mapping)
    for old, (new, beside) in RENAMED.items():
        *sections, key = old.split(".")
        section = _section(found, sections)
        if section is None or key not in section:
            continue
        *new_sections, new_key = new.split(".")
        target = found
        for name in new_sections:
            target = target.setdefault(name, {})
            if not isinstance(target, dict):
                raise InputError(f"config: {old}: is {new} now, and {name} is set to {target!r}")
        if new_key in target:
            raise InputError(f"config: {old}: is now called {new}, which is also set; remove {old}")
        target[new_key] = section.pop(key)
        for name, value in beside.items():
            target.setdefault(name, value)
        say(f"config: {old} is now called {new}; the next version will not read the old name")
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return value


def _section(mapping: dict[str, Any], keys: list[str]) -> dict[str, Any] | None:
    """What stands at a path of keys, if that is a section."""
    section: Any = mapping
    for key in keys:
        section = section.get(key) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else None


def parse_run(mapping: Any) -> Config:
    """Check the whole configuration of a run: `parse`, and what holds between sections."""
    config = parse(mapping)
    conflicts = list(_conflicts(config))
    if conflicts:
        raise InputError("\n".join(f"config: {conflict}" for conflict in conflicts))
    return config


def read_scalars(value: Any) -> Any:
    """A value in which every string is read as a YAML scalar: ``"3"`` becomes 3.

    For what Snakemake's ``--config`` gives: it leaves numbers inside braces as strings.
    """
    if isinstance(value, Mapping):
        return {k: read_scalars(v) for k, v in value.items()}
    if isinstance(value, list):
        return [read_scalars(v) for v in value]
    if not isinstance(value, str):
        return value
    try:
        scalar = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    return scalar if isinstance(scalar, int | float | None) else value


def load(text: str) -> Config:
    """The configuration from a YAML file's path, or from JSON text that begins with ``{``.

    A file holds a whole run and is checked as one; text may hold only some sections, as the
    commands in a run's logs have it.
    """
    content = load_mapping(text)
    return parse(content) if text.lstrip().startswith("{") else parse_run(content)


def load_mapping(text: str) -> Any:
    """What a YAML file holds, or JSON text that begins with ``{``; not checked further."""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"--config: not JSON: {error}") from None
    if not text.strip():
        raise InputError("--config: is empty; give a YAML file, or JSON in quotes")
    path = Path(text)
    if not path.is_file():
        raise InputError(f"--config: {path} {absence(path, 'YAML file')} (or give JSON in quotes)")
    try:
        # As bytes: YAML tells UTF-16 by its byte-order mark.
        return yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"--config: {path} is not YAML: {problem}") from None


def write_config(config: Config, out: Path) -> None:
    """Write a configuration as YAML: all keys but where it is computed (`compute`)."""
    content = config.model_dump(exclude={"compute"})
    with atomic_write(out) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _conflicts(config: Config) -> list[str]:
    found = []
    if config.data is None:
        return ["data: missing; give data.images (a folder) or data.scenes"]
    try:
        place_of(config.model.architecture, config.bootstrap.block)
    except InputError as error:
        found.append(str(error))
    if config.bootstrap.exact:
        try:
            require_faiss()
        except InputError as error:
            found.append(str(error))
    epochs = config.pretrain.epochs_of_rounds(config.rounds)
    if len(epochs) != config.rounds:
        found.append(f"pretrain.epochs: lists {len(epochs)} rounds, rounds is {config.rounds}")
    last = sum(epochs)
    if config.pretrain.vmf.every > last:
        found.append(
            f"pretrain.vmf.every: {config.pretrain.vmf.every}, but all rounds together have {last} "
            "epochs, none of which would have the term"
        )
    try:
        check_cells(config.pretrain, config.views, config.model.cell)
    except InputError as error:
        found.append(str(error))
    batches = {"pretrain": config.pretrain.batch_size} | {
        f"downstream.{evaluation.name}": config.downstream.settings(evaluation).batch_size
        for evaluation in config.downstream.chosen
        if isinstance(evaluation, Trained)
    }
    for section, batch in batches.items():
        try:
            check_batch(section, batch, config.compute)
        except InputError as error:
            found.append(str(error))
    for evaluation in config.downstream.chosen:
        try:
            evaluation.fits(config.downstream.settings(evaluation), config.model.architecture)
        except InputError as error:
            found.append(str(error))
    found += _nothing_to_scramble(config)
    if config.seed_masks.annotated and not config.data.labelled:
        found.append(f"seed_masks.kind: {config.seed_masks.kind} needs data.annotations")
    if not config.data.labelled:
        found += [
            f"downstream.evaluations: {evaluation.name} needs data.annotations"
            for evaluation in config.downstream.chosen
            if isinstance(evaluation, OnOwnImages)
        ]
    if config.data.scenes is not None:
        found += _too_few(config, config.data.scenes.images, "data.scenes.images")
    return found


def _nothing_to_scramble(config: Config) -> list[str]:
    """Settings that leave a view with one mask or one cell, where masks are to be scrambled."""
    if not config.pretrain.scramble_masks:
        return []
    found = []
    if config.views.crop == config.model.cell:
        found.append(f"views.crop ({config.views.crop} pixels) makes one cell a view")
    single = config.seed_masks.single_mask()
    if single is not None:
        found.append(f"{single} makes one mask an image")
    from_features = config.rounds > 1 and not config.pretrain.fixed_masks
    if config.bootstrap.clusters[1] == 1 and (from_features or config.seed_masks.from_state):
        found.append("bootstrap.clusters: [1, 1] makes one mask an image")
    return [
        f"pretrain.scramble_masks: {reason}, so there is nothing to permute" for reason in found
    ]


def _too_few(config: Config, images: int, where: str) -> list[str]:
    found = []
    batch, group, shards = config.pretrain.batch_size, config.bootstrap.group, config.shards
    if images < batch:
        found.append(f"pretrain.batch_size: {batch} images a step, but {where} has only {images}")
    groups = -(-images // group)
    if groups < shards:
        found.append(
            f"shards: {shards} shards, but {where} has only {images} images, "
            f"which make {groups} groups of {group}"
        )
    return found


def _explain(item: Any) -> str:
    """One mistake that pydantic found, as a line."""
    path = [str(part) for part in item["loc"]]
    # Behind a section of several kinds comes the chosen kind; it is no key.
    keys = [p for i, p in enumerate(path) if i == 0 or path[i - 1] not in _OF_SEVERAL_KINDS]
    where = ".".join(keys)
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(path[:-1])
        near = difflib.get_close_matches(keys[-1], allowed, n=1)
        guess = f"; did you mean '{near[0]}'?" if near else ""
        return f"config: {where}: unknown key{guess} (allowed: {', '.join(allowed)})"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    shown = item["input"]
    if item["type"] in ("value_error", "missing", "union_tag_not_found"):
        return f"config: {where}: {message}"
    return f"config: {where}: {message}, got {shown!r}"


_OF_SEVERAL_KINDS = {"seed_masks", "schedule", "objective"}


def _fields_at(path: list[str]) -> list[str]:
    """The keys allowed in the section at a path of keys and kinds."""
    schema = Config.model_json_schema()
    node: dict[str, Any] = schema
    for i, part in enumerate(path):
        if i and path[i - 1] in _OF_SEVERAL_KINDS:
            reference = node["discriminator"]["mapping"][part]
        else:
            node = node["properties"][part]
            options = [node, *node.get("anyOf", []), *node.get("allOf", [])]
            reference = next((o["$ref"] for o in options if "$ref" in o), "")
        if reference:
            node = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return list(node["properties"])

"""The configuration reference, from the schema: ``python -m cyborgs.config.reference``."""

import json
from collections.abc import Iterator
from typing import Any

from cyborgs.config.schema import Config

_INTRODUCTION = """# Configuration

Every key, its default and what it accepts. This page is made from the schema by
`python -m cyborgs.config.reference > docs/configuration.md`; a test checks that they agree.

A configuration is a YAML file, given by `--configfile`; `--config` changes single values, as in
`snakemake --cores all --config rounds=4 pretrain='{"epochs": 50}'`. Unknown keys, wrong types
and combinations that cannot work are refused before anything runs. `cyborgs config FILE` checks
a file and prints it with all defaults.
"""


def reference() -> str:
    """The reference as Markdown: a table for each section."""
    schema = Config.model_json_schema()
    definitions = schema["$defs"]
    parts = [_INTRODUCTION, *_section("", schema, definitions)]
    return "\n".join(parts)


def _section(path: str, node: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """The table of a section's own values, then the sections in it."""
    rows, inner = [], []
    for key, value in node["properties"].items():
        targets = _targets(value)
        if not targets:
            rows.append(
                f"| `{key}` | {_kind(value)} | {_default(key, node, value)} "
                f"| {value.get('description', '')} |"
            )
        for target in targets:
            name = target.rsplit("/", 1)[-1]
            section = definitions[name]
            label = f"{path}.{key}".lstrip(".")
            kind = section["properties"].get("kind", {}).get("const")
            inner.append((label, kind, section))
    if path:
        yield node.get("description", "").split("\n")[0] + "\n"
    if rows:
        yield "| key | accepts | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for label, kind, section in inner:
        choice = f", `kind: {kind}`" if kind else ""
        yield f"## `{label}`{choice}\n"
        yield from _section(label, section, definitions)


def _targets(value: dict[str, Any]) -> list[str]:
    options = [value, *value.get("anyOf", []), *value.get("oneOf", [])]
    return [option["$ref"] for option in options if "$ref" in option]


def _kind(value: dict[str, Any]) -> str:
    if "anyOf" in value:
        return " or ".join(_kind(option) for option in value["anyOf"])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{v}`" for v in value["enum"])
    if value["type"] == "array":
        return f"list of {_kind(value['items'])}"
    limits = {
        "minimum": ">=",
        "exclusiveMinimum": ">",
        "maximum": "<=",
        "multipleOf": "multiple of",
    }
    bounds = [f"{sign} {value[name]:g}" for name, sign in limits.items() if name in value]
    return " ".join([value["type"], ", ".join(bounds)]).strip()


def _default(key: str, node: dict[str, Any], value: dict[str, Any]) -> str:
    if key in node.get("required", []):
        return "required"
    return f"`{json.dumps(value['default'])}`".replace('"', "")


if __name__ == "__main__":
    print(reference(), end="")

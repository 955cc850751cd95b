"""A configuration as YAML with comments, for people to change."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

import yaml

from cyborgs.common.section import Section

_WIDTH = 100


def commented(mapping: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """YAML of sections and keys, with a comment behind each key that has one, or above it.

    Args:
        mapping: sections, and keys with their values.
        comments: by the path of a key or a section (``pretrain.batch_size``).
    """
    return "".join(f"{line}\n" for line in _lines(mapping, comments, ""))


def _lines(mapping: Mapping[str, Any], comments: Mapping[str, str], path: str) -> Iterator[str]:
    indent = "  " * path.count(".")
    for key, value in mapping.items():
        section = isinstance(value, Mapping) and bool(value)
        line = f"{indent}{key}:" if section else f"{indent}{key}: {_scalar(value)}"
        comment = comments.get(path + key, "")
        if comment and len(f"{line} # {comment}") <= _WIDTH:
            line = f"{line} # {comment}"
        elif comment:
            mark = f"{indent}# "
            yield from wrap(comment, _WIDTH, initial_indent=mark, subsequent_indent=mark)
        yield line
        if section:
            yield from _lines(value, comments, f"{path}{key}.")


def _scalar(value: Any) -> str:
    """A value on one line of YAML."""
    one = yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True)
    return one.strip()[1:-1]


def description(config: Section, key: str) -> str | None:
    """What the schema says of a key, by its path in a checked configuration; None: nothing."""
    *sections, last = key.split(".")
    section = config
    for name in sections:
        section = getattr(section, name)
    return type(section).model_fields[last].description

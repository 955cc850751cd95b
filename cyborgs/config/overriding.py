"""Single values set from the command line, over a configuration."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from cyborgs.common.errors import InputError


def read_settings(flags: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Values by the paths of their keys, from flags and from texts such as ``views.crop=96``.

    Args:
        flags: by the flag (``--rounds``): the path of its key, and its value or None.
        assignments: of ``--set``; a value is read as YAML.

    Raises:
        InputError: a text that sets nothing, or two different values of one key.
    """
    found: dict[str, Any] = {}
    said: dict[str, str] = {}

    def add(key: str, value: Any, words: str) -> None:
        if key in found and found[key] != value:
            raise InputError(f"{said[key]} and {words} contradict each other; leave one out")
        found[key], said[key] = value, words

    for flag, (key, value) in flags.items():
        if value is not None:
            add(key, value, f"{flag} {value}")
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise InputError(f"--set {text}: is not KEY=VALUE, such as views.crop=96")
        try:
            add(key, yaml.safe_load(value), f"--set {text}")
        except yaml.YAMLError:
            raise InputError(f"--set {text}: the value is not YAML") from None
    for key in found:
        inside = next((other for other in found if other.startswith(f"{key}.")), None)
        if inside is not None:
            raise InputError(f"{said[key]} and {said[inside]} contradict each other; leave one out")
    return found


def override(mapping: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration in which values are set, by the paths of their keys.

    With another `kind`, the other keys of its section go: they are of the kind that it had.

    Raises:
        InputError: a path through something that is no section.
    """
    result = copy.deepcopy(dict(mapping))
    # A kind comes before what belongs to it.
    for key in sorted(given, key=lambda key: not key.endswith(".kind")):
        *sections, last = key.split(".")
        section = result
        for name in sections:
            # A section may be there and empty.
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise InputError(f"--set {key}: {name} is {section!r}, which has no keys")
        if last == "kind" and section.get("kind") != given[key]:
            section.clear()
        section[last] = given[key]
    return result


def value_at(mapping: Mapping[str, Any], key: str) -> Any:
    """The value at the path of a key; None where there is none."""
    value: Any = mapping
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def paths(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """All values of a configuration by the paths of their keys."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            found |= paths(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with these values: the inverse of `paths`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        section = found
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return found

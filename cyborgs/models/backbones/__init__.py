"""Families of backbones: a file each.

Nothing else names them: the configuration is checked, and networks are built and run, through
`FAMILIES`.  Importing them loads no PyTorch.
"""

import difflib
from collections.abc import Sequence

from cyborgs.common.errors import InputError
from cyborgs.models.backbones.family import Family, Place
from cyborgs.models.backbones.resnet import ResNets
from cyborgs.models.backbones.timm import Timm

FAMILIES: tuple[Family, ...] = (ResNets(), Timm())


def family_of(architecture: str) -> Family:
    """The family that has an architecture; raises `InputError` where none has it."""
    for family in FAMILIES:
        if family.has(architecture):
            return family
    known = [name for family in FAMILIES for name in family.names()]
    near = difflib.get_close_matches(architecture, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}"
    raise InputError(f"architecture {architecture} is unknown; {hint}")


def stages_of(architecture: str) -> tuple[Place, ...]:
    """Stages of an architecture, from the first to the last; raises `InputError` likewise."""
    return family_of(architecture).stages(architecture)


def stages_named(architecture: str, names: Sequence[str] | None, key: str) -> tuple[Place, ...]:
    """Stages of an architecture by name; None: those that masks pool by default.

    Raises `InputError`, with ``key``, where it has no such stage, or they are out of order.
    """
    stages = {stage.name: stage for stage in stages_of(architecture)}
    if names is None:
        names = family_of(architecture).pooled(architecture)
    for name in names:
        if name not in stages:
            raise InputError(
                f"{key}: {architecture} has no stage {name}; its stages are {', '.join(stages)}"
            )
    if list(names) != [name for name in stages if name in names]:
        raise InputError(f"{key}: name stages once, from the first to the last")
    return tuple(stages[name] for name in names)


def place_of(architecture: str, name: str, key: str = "bootstrap.block") -> Place:
    """The stage or block of an architecture; raises `InputError`, with ``key``, where it is not."""
    return family_of(architecture).place(architecture, name, key)

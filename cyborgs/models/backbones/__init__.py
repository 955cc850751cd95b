"""Families of backbones: a file each.

Nothing else names them: the configuration is checked, and networks are built and run, through
`FAMILIES`.  Importing them loads no PyTorch.
"""

import difflib

from cyborgs.common.errors import InputError
from cyborgs.models.backbones.family import Family, Place
from cyborgs.models.backbones.resnet import ResNets

FAMILIES: tuple[Family, ...] = (ResNets(),)


def family_of(architecture: str) -> Family:
    """The family that has an architecture; raises `InputError` where none has it."""
    for family in FAMILIES:
        if family.has(architecture):
            return family
    known = [name for family in FAMILIES for name in family.names()]
    near = difflib.get_close_matches(architecture, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}"
    raise InputError(f"architecture {architecture} is unknown; {hint}")


def place_of(architecture: str, name: str, key: str = "bootstrap.block") -> Place:
    """The stage or block of an architecture; raises `InputError`, with ``key``, where it is not."""
    return family_of(architecture).place(architecture, name, key)

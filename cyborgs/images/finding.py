"""Finding an image in an index by what people call it."""

import difflib
import os

from cyborgs.common.errors import InputError
from cyborgs.images.index import Index


def find(index: Index, image: str) -> int:
    """Position of an image that is given by its number, its name, or the end of its name.

    The end may lack the suffix.  Digits with zeros before them are a name: many data sets call
    their files so.  Raises `InputError` where there is none or more than one.
    """
    number = _number(image)
    if number is not None and 0 <= number < len(index):
        return number
    names = [e.name for e in index.entries]
    if image in names:
        return names.index(image)
    ends = [
        position
        for position, name in enumerate(names)
        if any(f"/{n}".endswith(f"/{image}") for n in (name, os.path.splitext(name)[0]))
    ]
    if len(ends) == 1:
        return ends[0]
    if ends:
        some = ", ".join(names[p] for p in ends[:3])
        raise InputError(
            f"image {image}: {len(ends)} images have this name ({some} …); give one of these paths"
        )
    if number is not None:
        raise InputError(f"image {image}: the index has {len(index)} images, 0 … {len(index) - 1}")
    near = difflib.get_close_matches(image, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; the first is {names[0]}"
    raise InputError(f"image {image} is not in the index{hint}")


def _number(text: str) -> int | None:
    """The number that a text is written as, without zeros before it."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if str(number) == text else None

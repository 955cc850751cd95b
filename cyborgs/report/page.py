"""The page: one HTML file that needs nothing else."""

import base64
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Chart:
    """A drawing inside the page, in its colours, and a text for those who do not see it."""

    svg: str
    description: str


@dataclass(frozen=True)
class Table:
    """Rows of cells below a heading each; ``note`` explains the columns."""

    header: list[str]
    rows: list[list[str]]
    note: str = ""


def inline(svg: str) -> str:
    """An SVG drawing as an element of a page.

    What only a file of its own needs is left out, and its identifiers are made its own: a page
    with several drawings has each only once.
    """
    element = svg[svg.index("<svg") :].strip()
    own = hashlib.sha256(element.encode()).hexdigest()[:8]
    used = set(_REFERENCE.findall(element))

    def renamed(found: re.Match[str]) -> str:
        return f' id="{own}-{found[1]}"' if found[1] in used else ""

    element = _IDENTIFIER.sub(renamed, element)
    return _REFERENCE.sub(lambda found: f"#{own}-{found[1]}", element)


_IDENTIFIER = re.compile(r' id="([^"]+)"')
_REFERENCE = re.compile(r'(?<=[("])#([^")]+)')


def photo_source(rgb: NDArray[np.uint8]) -> str:
    """Pixels ``(height, width, 3)`` as a data URI, compressed like a photograph (WebP)."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "WEBP", quality=78)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def layer_source(rgba: NDArray[np.uint8]) -> str:
    """Pixels ``(height, width, 4)`` of a few colours as a data URI, without loss (WebP)."""
    stream = io.BytesIO()
    Image.fromarray(rgba).save(stream, "WEBP", lossless=True, quality=40, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def render(template: str, **content: Any) -> str:
    """A page with its content; the names are those that the template uses."""
    environment = Environment(
        loader=PackageLoader("cyborgs", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    style = (Path(__file__).parent / "page.css").read_text()
    return environment.get_template(template).render(style=style, **content)

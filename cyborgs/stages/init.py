"""Command `init`: a commented configuration, to change and to run."""

from pathlib import Path
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.config import parse_run
from cyborgs.config.choosing import Hardware, Images, choose
from cyborgs.config.commented import commented, description
from cyborgs.config.overriding import nested, paths
from cyborgs.run.paths import run_name
from cyborgs.run.workflow import RECIPES

_HEAD = """\
# A run of CYBORGS: cyborgs run {name}
#
# The values suit a few hundred photographs on a CPU; `cyborgs run PHOTOS` chooses them for yours.
# A key that you leave out has its default (`cyborgs config {name}` prints all of them).

"""

# Where nothing is known of images and hardware: some hundred photographs, on two cores.
_IMAGES, _HARDWARE = Images(256, 480, 640), Hardware(2)

# Set as well, though by default, because people set them.
_DEFAULTS = (
    "seed", "data.annotations", "data.short_side", "data.on_bad_image", "model.weights",
    "seed_masks.kind", "pretrain.precision", "compute.device", "compute.processes",
)  # fmt: skip

_RECIPES = {"demo": "config"}


def run(out: Path, like: str | None) -> None:
    """Write a configuration.

    Args:
        out: file to write.
        like: name of a configuration that comes along; None: the keys that people set.

    Raises:
        InputError: the file is there already, or no such configuration comes along.
    """
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists already; name another file, or remove it")
    content = _commented(out.name) if like is None else _recipe(like)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as temporary:
        temporary.write_text(content, encoding="utf-8")
    print(f"{out}: set data.images, then: cyborgs run {out}" if like is None else f"{out}")


def _recipe(name: str) -> str:
    file = RECIPES / f"{_RECIPES.get(name, name)}.yaml"
    if not file.is_file():
        known = sorted({*_RECIPES, *(path.stem for path in RECIPES.glob("*.yaml"))} - {"config"})
        raise InputError(f"--like {name}: there are {', '.join(known)}")
    return file.read_text(encoding="utf-8")


def _commented(name: str) -> str:
    chosen = paths(choose(_IMAGES, _HARDWARE).settings)
    values: dict[str, Any] = {"run": run_name(Path(name).stem), "data.images": "photos"}
    config = parse_run(nested(values | chosen))
    everything = paths(config.model_dump())
    shown = {
        key: value
        for key, value in everything.items()
        if key in values or key in chosen or key in _DEFAULTS
    }
    comments = {key: description(config, key) for key in shown}
    return _HEAD.format(name=name) + commented(
        nested(shown), {key: text for key, text in comments.items() if text}
    )

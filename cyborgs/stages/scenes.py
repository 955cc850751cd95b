"""Stage `scenes`: draw the embedded data."""

from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say
from cyborgs.config import Config
from cyborgs.images.scenes import write_scenes


def run(config: Config, out: Path) -> None:
    """Draw labelled scenes into ``out/images`` and ``out/annotations.json``.

    Uses `data.scenes`; raises `InputError` where the latter is missing.
    """
    if config.data is None or config.data.scenes is None:
        raise InputError("data.scenes: missing; it says how many scenes to draw, and how large")
    scenes = config.data.scenes
    write_scenes(out, images=scenes.images, size=(scenes.height, scenes.width), seed=scenes.seed)
    say(f"scenes: {scenes.images} scenes in {out}")

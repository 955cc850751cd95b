"""Commands for data sets: what is in them."""

import argparse
import json
from pathlib import Path

from cyborgs.cli import options as o


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    data = o.group(commands, "data", "data sets: what is in them")

    c = o.command(data, "check", _check, "a page about a folder of images; status 1 if some broke")
    c.add_argument("images", type=Path, metavar="FOLDER", help="folder of the images")
    o.add_list(c)
    c.add_argument("--annotations", type=Path, help="COCO instances JSON of the images")
    c.add_argument("--threads", type=o.count, default=2, help="files read at a time (default 2)")
    c.add_argument("--json", action="store_true", help="print JSON, with all names")


def _check(options: argparse.Namespace) -> int:
    from cyborgs.stages import data_check

    result = data_check.run(options.images, options.threads, options.list, options.annotations)
    print(json.dumps(result, indent=1) if options.json else data_check.text(options.images, result))
    return 0 if data_check.sound(result) else 1

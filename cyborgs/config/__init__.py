"""The configuration, used by the Snakefile and by every command.

Strict: an unknown key, a wrong type or a combination that cannot work is refused before
anything runs, with the key's path and what is allowed.  Imports no torch: the workflow
reads its configuration in a fraction of a second.
"""

from cyborgs.common.section import MOST_LABELS
from cyborgs.config.reading import (
    check_batch,
    check_block,
    check_locations,
    load,
    parse,
    parse_run,
    read_scalars,
    require_faiss,
)
from cyborgs.config.schema import (
    BLOCKS,
    CELL,
    Bootstrap,
    Compute,
    Config,
    Pretrain,
    Views,
)

__all__ = [
    "BLOCKS",
    "CELL",
    "MOST_LABELS",
    "Bootstrap",
    "Compute",
    "Config",
    "Pretrain",
    "Views",
    "check_batch",
    "check_block",
    "check_locations",
    "load",
    "parse",
    "parse_run",
    "read_scalars",
    "require_faiss",
]

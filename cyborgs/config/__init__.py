"""The configuration, used by the Snakefile and by every command.

Strict: an unknown key, a wrong type or a combination that cannot work is refused before
anything runs, with the key's path and what is allowed.  Imports no torch: the workflow
reads its configuration in a fraction of a second.
"""

from cyborgs.bootstrap.settings import Bootstrap
from cyborgs.config.reading import load, parse, parse_run, read_scalars, write_config
from cyborgs.config.schema import Config
from cyborgs.pretraining.settings import Pretrain, Views
from cyborgs.runtime.settings import Compute

__all__ = [
    "Bootstrap",
    "Compute",
    "Config",
    "Pretrain",
    "Views",
    "load",
    "parse",
    "parse_run",
    "read_scalars",
    "write_config",
]

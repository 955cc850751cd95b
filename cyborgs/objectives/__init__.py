"""Objectives of pretraining: a file each, which holds its settings and its code.

Nothing else names them: the schema and the reference of keys go through `OBJECTIVES`, and training
takes what the configuration says.  `vmf` is a term beside any of them.  Importing them loads no
PyTorch.
"""

from cyborgs.objectives.byol import Byol
from cyborgs.objectives.detcon import DetConB
from cyborgs.objectives.objective import Objective

OBJECTIVES: tuple[type[Objective], ...] = (DetConB, Byol)

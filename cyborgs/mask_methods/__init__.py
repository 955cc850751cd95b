"""Methods of making the masks of round 0: a file each, which holds its settings and its code.

Nothing else names them: the schema, the command line, the rules and the reference of keys go
through `METHODS`.  Importing them loads neither NumPy nor what they compute with.
"""

from cyborgs.mask_methods.annotated import Annotated
from cyborgs.mask_methods.features import Features
from cyborgs.mask_methods.felzenszwalb import Felzenszwalb
from cyborgs.mask_methods.given import Given
from cyborgs.mask_methods.grid import Grid
from cyborgs.mask_methods.method import MaskMethod
from cyborgs.mask_methods.slic import Slic
from cyborgs.mask_methods.whole import Whole

METHODS: tuple[type[MaskMethod], ...] = (
    Felzenszwalb,
    Slic,
    Grid,
    Features,
    Annotated,
    Whole,
    Given,
)

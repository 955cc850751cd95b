"""Clusters of the initial weights' features."""

from typing import ClassVar, Literal

from cyborgs.mask_methods.method import MaskMethod


class Features(MaskMethod):
    """Bootstrapping with the initial weights, by the settings of `bootstrap`."""

    from_state: ClassVar[bool] = True

    kind: Literal["features"]

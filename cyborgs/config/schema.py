"""The schema: it assembles the sections, each of which is in the room that it is for."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias, Union

from pydantic import Field

from cyborgs.bootstrap.settings import Bootstrap
from cyborgs.common.section import Section
from cyborgs.config.downstream import Downstream
from cyborgs.images.settings import Data
from cyborgs.mask_methods import METHODS
from cyborgs.mask_methods.felzenszwalb import Felzenszwalb
from cyborgs.mask_methods.method import MaskMethod
from cyborgs.models.settings import Model
from cyborgs.pretraining.settings import Pretrain, Views
from cyborgs.quality.settings import Quality
from cyborgs.runtime.settings import Compute

if TYPE_CHECKING:
    SeedMasks: TypeAlias = MaskMethod
else:
    # One of the methods, by its `kind`.
    SeedMasks = Annotated[Union[METHODS], Field(discriminator="kind")]  # noqa: UP007


class Config(Section):
    """A run."""

    run: str = Field(
        "run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name of the run: all its files are in results/<run>",
    )
    seed: int = Field(0, ge=0, description="seed of all random choices")
    rounds: int = Field(8, ge=1, le=99, description="pretraining rounds")
    shards: int = Field(8, ge=1, le=9999, description="mask files per round, each made by one job")
    data: Data | None = None
    model: Model = Model()
    seed_masks: SeedMasks = Felzenszwalb(kind="felzenszwalb")
    views: Views = Views()
    pretrain: Pretrain = Pretrain()
    bootstrap: Bootstrap = Bootstrap()
    quality: Quality = Quality()
    downstream: Downstream = Downstream()
    compute: Compute = Compute()

    def only(self, *sections: str) -> str:
        """The named sections as one line of JSON, defaults left out: a command's ``--config``.

        ``section.key`` is one key of a section.
        """
        include: dict[str, Any] = {}
        for section in sections:
            name, _, key = section.partition(".")
            include[name] = {key} if key else True
        chosen = self.model_dump(include=include, exclude_defaults=True)
        # Sections in which only other keys are set are now empty.
        return json.dumps({k: v for k, v in chosen.items() if v != {}}, sort_keys=True)

    def only_evaluation(self, name: str) -> str:
        """What an evaluation uses of `downstream`, as `only` has it."""
        chosen = self.downstream.used_by(name, exclude_defaults=True)
        return json.dumps({"downstream": chosen} if chosen else {}, sort_keys=True)

    def for_round(self, number: int) -> Self:
        """This configuration with `pretrain` as it is in round ``number``."""
        return self.model_copy(update={"pretrain": self.pretrain.for_round(number)})

    def at_fixed_k(self, clusters: int) -> Self:
        """This configuration with one shard, whose groups all have the same K."""
        fixed = self.bootstrap.model_copy(update={"clusters": [clusters, clusters]})
        return self.model_copy(update={"shards": 1, "bootstrap": fixed})

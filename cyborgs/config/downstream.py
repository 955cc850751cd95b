"""The section `downstream`: evaluating backbones by what they do elsewhere."""

from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import Field, create_model, model_validator

from cyborgs.common.section import Section
from cyborgs.evaluation import BY_NAME, EVALUATIONS
from cyborgs.evaluation.kinds import Evaluation, OnOwnImages, Trained
from cyborgs.evaluation.settings import Evaluated

S = TypeVar("S", bound=Evaluated)

Name: Any = Literal[tuple(BY_NAME)]

_FOLDERS = list(dict.fromkeys(folder for e in EVALUATIONS for folder in e.folders))
_OWN = [f"`{e.name}`" for e in EVALUATIONS if isinstance(e, OnOwnImages)]


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]])


class _Downstream(Section):
    """Evaluations of backbones on downstream tasks."""

    evaluations: list[Name] = Field(
        [], description="evaluations that the workflow runs; the settings of each are below"
    )
    seeds: int = Field(
        3, ge=1, description="repetitions with different seeds; tables give mean and spread"
    )
    datasets: str = Field(
        "datasets",
        description=f"folder with {_listed(_FOLDERS)}, for all but {_listed(_OWN)}, which use the "
        "run's own images",
    )

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.evaluations)) != len(self.evaluations):
            raise ValueError("'evaluations' lists an evaluation twice")
        return self

    @property
    def chosen(self) -> list[Evaluation[Any]]:
        """The evaluations that the workflow runs."""
        return [BY_NAME[name] for name in self.evaluations]

    def settings(self, evaluation: Evaluation[S]) -> S:
        """The section of an evaluation."""
        own: S = getattr(self, evaluation.name)
        return own

    def used_by(self, name: str, exclude_defaults: bool = False) -> dict[str, Any]:
        """The settings that change the metrics of an evaluation."""
        # Repetitions of what trains are jobs of their own.
        keys = {name} if isinstance(BY_NAME[name], Trained) else {name, "seeds"}
        used = self.model_dump(include=keys, exclude_defaults=exclude_defaults)
        used.get(name, {}).pop("backbones", None)
        return {key: value for key, value in used.items() if value != {}}


# A section for each evaluation.
if TYPE_CHECKING:
    Downstream = _Downstream
else:
    Downstream = create_model(
        "Downstream",
        __base__=_Downstream,
        __doc__=_Downstream.__doc__,
        **{e.name: (type(e.settings), e.settings) for e in EVALUATIONS},
    )

"""What evaluations say of a run's backbone, for the verdict."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from scipy import stats

from cyborgs.config import Config
from cyborgs.evaluation import BY_NAME
from cyborgs.evaluation.kinds import OnOwnImages, Trained
from cyborgs.evaluation.results import read_results
from cyborgs.report.facts import Backbone, Difference
from cyborgs.run.paths import Run


def backbone_facts(files: Run, config: Config) -> Backbone:
    """The last backbone that was evaluated, by the first evaluation that the run asks for.

    Evaluations that also measured random weights or the given weights come first.  Raises
    `InputError` if a result is damaged.
    """
    given = config.model.weights is not None
    found = [_facts(files, config, name, given) for name in config.downstream.evaluations]
    known = [facts for facts in found if facts is not None]
    compared = [facts for facts in known if facts.random or facts.initial]
    for facts in (*compared, *known):
        return facts
    return Backbone(given=given, hint=_hint(config, given))


def _hint(config: Config, given: bool) -> str:
    """The setting that would give the missing comparison; "" if it is set already."""
    for name in config.downstream.evaluations:
        backbones = config.downstream.settings(BY_NAME[name]).backbones
        lacking = [b for b in (["random", "rounds"] if given else ["random"]) if b not in backbones]
        if lacking:
            return f"downstream.{name}.backbones: [{', '.join([*lacking, *backbones])}]"
    if config.downstream.evaluations:
        return ""
    labelled = config.data is not None and config.data.labelled
    name = next(n for n, e in BY_NAME.items() if isinstance(e, OnOwnImages) == labelled)
    backbones = "random, rounds" if given else "random, last"
    return f"downstream: {{evaluations: [{name}], {name}: {{backbones: [{backbones}]}}}}"


def _facts(files: Run, config: Config, name: str, given: bool) -> Backbone | None:
    evaluation = BY_NAME[name]
    trained = isinstance(evaluation, Trained)
    seeds: Sequence[int | None] = range(config.downstream.seeds) if trained else [None]

    def values(backbone: str) -> dict[int, float]:
        """The headline of each seed, percent."""
        paths = [files.evaluation(name, backbone, seed) for seed in seeds]
        there = [path for path in paths if path.exists()]
        return {
            row["seed"]: 100 * row[evaluation.headline]
            for result in read_results(there)
            for row in result["seeds"]
        }

    evaluated = [n for n in range(config.rounds, 0, -1) if (found := values(f"round-{n:02d}"))][:1]
    if not evaluated:
        return None
    number = evaluated[0]
    found = values(f"round-{number:02d}")
    return Backbone(
        measure=f"{evaluation.title}, {_metric(evaluation)}",
        round=number,
        random=_difference(found, values("random")),
        initial=_difference(found, values("round-00")) if given else None,
        given=given,
        hint=_hint(config, given),
    )


def _metric(evaluation: Any) -> str:
    return str(evaluation.metrics[evaluation.headline])


def _difference(ours: dict[int, float], theirs: dict[int, float]) -> Difference | None:
    """Over the seeds that both have; with Student's interval where they are two or more."""
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    one, other = [ours[s] for s in seeds], [theirs[s] for s in seeds]
    if len(seeds) == 1:
        return Difference(one[0], other[0], None, "one seed")
    differences = [a - b for a, b in zip(one, other, strict=True)]
    # Without any spread, the interval has no width, although nothing is certain.
    half = stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(differences)
    middle = mean(differences)
    return Difference(mean(one), mean(other), (middle - half, middle + half), f"{len(seeds)} seeds")

"""What an experiment computes: each artifact once, however many of its runs need it.

An artifact's key is a hash of the settings behind it and of the keys of what it is made from, so
that runs share what they have in common, and a variant that is added later reuses what is there.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cyborgs.config import Compute, Config
from cyborgs.config.experiment import INITIAL, Experiment
from cyborgs.evaluation.kinds import OnDatasets, OnOwnImages
from cyborgs.run.paths import Run
from cyborgs.run.provenance import VERSIONS

# What commands take of the section `compute`.
_PLACE = ("device", "threads")
_LOADING = (*_PLACE, "workers")
_TRAINING = (*_LOADING, "processes", "nodes", "checkpoint_minutes", "leave_minutes")


@dataclass(frozen=True)
class Job:
    """A command of ``cyborgs``, and the files that it reads and writes.

    Attributes:
        stage: what it does.
        key: of what it makes.
        shard: which of several files it makes; empty where there is one.
        command: words after ``cyborgs``, without where and how fast.
        compute: keys of the section `compute` that the command takes.
        inputs: files.
        patterns: files that it makes, with ``{key}`` and ``{shard}`` for what differs between jobs
            of this stage.
        folder: of the experiment.
    """

    stage: str
    key: str
    shard: str
    command: tuple[str, ...]
    compute: tuple[str, ...]
    inputs: tuple[str, ...]
    patterns: tuple[str, ...]
    folder: Path

    @property
    def outputs(self) -> tuple[str, ...]:
        """Files that it makes."""
        return tuple(self._filled(pattern) for pattern in self.patterns)

    @property
    def log_pattern(self) -> str:
        """File for what it says, as a pattern."""
        return str(self.folder / f"logs/{self.stage}/{self._name}.log")

    @property
    def cost_pattern(self) -> str:
        """File for its time, as Snakemake's ``benchmark`` has it, as a pattern."""
        return str(self.folder / f"cost/{self.stage}/{self._name}.tsv")

    @property
    def log(self) -> str:
        """File for what it says."""
        return self._filled(self.log_pattern)

    @property
    def cost(self) -> str:
        """File for its time."""
        return self._filled(self.cost_pattern)

    @property
    def _name(self) -> str:
        return "{key}-{shard}" if self.shard else "{key}"

    def _filled(self, pattern: str) -> str:
        return pattern.replace("{key}", self.key).replace("{shard}", self.shard)

    @property
    def trains(self) -> bool:
        """Whether it can run in several processes."""
        return "processes" in self.compute

    @property
    def on_device(self) -> bool:
        """Whether it computes on a GPU where there is one."""
        return "device" in self.compute

    def options(self, compute: Compute) -> list[str]:
        """Where and how fast, as words of the command line."""
        words: list[str] = []
        for name in self.compute:
            words += [f"--{name.replace('_', '-')}", str(getattr(compute, name))]
        if self.stage == "pretrain" and compute.compile != "auto":
            words.append("--compile" if compute.compile else "--no-compile")
        return words


@dataclass(frozen=True)
class PlannedEvaluation:
    """An evaluation of a run's backbone after a round.

    Attributes:
        evaluation: its name.
        round: 0 for the weights that training begins with.
        key: of its result.
        path: file of its result; the scores of each test image, if any, are beside it.
        trained, clustered, evaluated: files of cost of all rounds up to this one.
        metrics: files of training metrics by epoch, of all rounds up to this one.
    """

    evaluation: str
    round: int
    key: str
    path: Path
    trained: tuple[Path, ...]
    clustered: tuple[Path, ...]
    evaluated: Path
    metrics: tuple[Path, ...]

    @property
    def scores(self) -> Path:
        """Scores of each test image, where the evaluation has such."""
        return self.path.with_suffix(".npz")


@dataclass(frozen=True)
class PlannedRun:
    """A variant with one seed, and how its backbones are measured, round by round."""

    variant: str
    seed: int
    evaluations: tuple[PlannedEvaluation, ...]


@dataclass(frozen=True)
class Plan:
    """All jobs of an experiment, in an order in which they can run, and its runs."""

    folder: Path
    jobs: tuple[Job, ...]
    runs: tuple[PlannedRun, ...]


def plan(experiment: Experiment, finished: frozenset[str] = frozenset()) -> Plan:
    """Plan an experiment.

    Args:
        experiment: which.
        finished: keys of results that are at hand; a run whose last round is among them is left out
            of the jobs.
    """
    planner = _Planner(experiment)
    runs = []
    for seed in experiment.seeds:
        base = experiment.base.model_copy(update={"seed": seed})
        runs.append(planner.untrained(base, seed, finished))
        for variant, config in experiment.variants.items():
            own = config.model_copy(update={"seed": seed})
            runs.append(planner.run(variant, own, finished))
    return Plan(planner.folder, tuple(planner.jobs.values()), tuple(runs))


@dataclass
class _Made:
    """Files of an artifact, its key, and the files of cost of what it took, from the beginning."""

    key: str
    files: tuple[str, ...]
    trained: tuple[Path, ...] = ()
    clustered: tuple[Path, ...] = ()
    metrics: tuple[Path, ...] = ()


@dataclass
class _Planner:
    """Collects jobs by key."""

    experiment: Experiment
    jobs: dict[str, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = Path("results") / self.experiment.name
        self.layout = Run(self.folder)
        self._add_data(self.experiment.base)

    def run(self, variant: str, config: Config, finished: frozenset[str]) -> PlannedRun:
        """The run of a variant with one seed."""
        before = dict(self.jobs)
        states = [self._seed_state(config)]
        masks = [self._seed_masks(config, states[0])]
        for number in range(1, config.rounds + 1):
            states.append(self._pretrain(config, number, states[-1], masks[-1]))
            if number < config.rounds and not config.pretrain.fixed_masks:
                masks.append(self._bootstrap(config, number, states[-1]))
        first = 1 if self.experiment.every_round else config.rounds
        evaluations = [
            found
            for number in range(first, config.rounds + 1)
            for found in self._evaluate(config, number, states[number], masks[:number])
        ]
        return self._unless_finished(
            PlannedRun(variant, config.seed, tuple(evaluations)), finished, before
        )

    def untrained(self, config: Config, seed: int, finished: frozenset[str]) -> PlannedRun:
        """The weights that training begins with, measured."""
        before = dict(self.jobs)
        evaluations = self._evaluate(config, 0, self._seed_state(config), [])
        run = PlannedRun(INITIAL, seed, tuple(evaluations))
        return self._unless_finished(run, finished, before)

    def _unless_finished(
        self, run: PlannedRun, finished: frozenset[str], before: dict[str, Job]
    ) -> PlannedRun:
        last = run.evaluations[-1].round
        if {planned.key for planned in run.evaluations if planned.round == last} <= finished:
            self.jobs = before
        return run

    def _add_data(self, config: Config) -> None:
        """Images and their index; the same for all runs."""
        data, layout = config.data, self.layout
        assert data is not None  # checked with the configuration
        given = config.only("data")
        if data.scenes is not None:
            self.images = str(layout.scenes / "images")
            self.annotations: str | None = str(layout.scenes / "annotations.json")
            listed: list[str] = []
            self._job(
                "scenes",
                "scenes",
                ("scenes", "--config", given, "--out", str(layout.scenes)),
                patterns=(self.annotations,),
            )
            needed: tuple[str, ...] = (self.annotations,)
        elif data.short_side is not None:
            small = layout.small(data.short_side)
            self.images, listed = str(small / "images"), ["--list", str(small / "names")]
            self.annotations = str(small / "annotations.json") if data.annotations else None
            assert data.images is not None
            options = ["--list", data.list] if data.list else []
            if data.annotations:
                options += ["--annotations", data.annotations]
            outputs = [str(small / name) for name in ("names", "summary.json")]
            outputs += [self.annotations] if self.annotations else []
            self._job(
                "shrink",
                "images",
                (
                    *("data", "shrink", "--images", data.images, *options),
                    *("--short-side", str(data.short_side), "--out", str(small)),
                    *("--on-bad-image", data.on_bad_image),
                ),
                patterns=tuple(outputs),
                compute=("threads",),
            )
            needed = (outputs[0],)
        else:
            assert data.images is not None
            self.images, self.annotations = data.images, data.annotations
            listed = ["--list", data.list] if data.list else []
            needed = ()
        self._job(
            "index",
            "index",
            (
                *("index", "--images", self.images, *listed),
                *("--on-bad-image", data.on_bad_image, "--out", str(layout.index)),
            ),
            patterns=(str(layout.index),),
            compute=("threads",),
            inputs=needed,
        )
        # Where the data lie does not matter: a run that was finished elsewhere is finished here.
        kept = data.model_dump(exclude={"images", "list", "annotations"}, exclude_defaults=True)
        self.data = _key("data", kept)

    def _seed_state(self, config: Config) -> _Made:
        given = config.only("seed", "model")
        key = _key("seed-state", given)
        out = str(self.folder / f"states/{key}.pt")
        weights = config.model.weights_file
        self._job(
            "seed-state",
            key,
            ("seed", "state", "--config", given, "--out", out),
            patterns=(str(self.folder / "states/{key}.pt"),),
            inputs=(weights,) if weights else (),
        )
        return _Made(key, (out,))

    def _seed_masks(self, config: Config, state: _Made) -> _Made:
        method = config.seed_masks
        if method.from_state:
            return self._bootstrap(config, 0, state)
        given = config.only("seed", "shards", "seed_masks", "bootstrap.group")
        options: tuple[str, ...] = ()
        if method.annotated:
            assert self.annotations is not None
            options = ("--annotations", self.annotations)
        command = ("seed", "masks", "--config", given, "--images", self.images)
        given_masks = tuple(map(str, method.shards()))
        compute = ("threads",) if method.threaded else ()
        return self._shards(
            config,
            "seed-masks",
            given,
            command=(*command, *options),
            inputs=given_masks,
            compute=compute,
        )

    def _bootstrap(self, config: Config, number: int, state: _Made) -> _Made:
        given = config.only("seed", "shards", "bootstrap")
        command = (
            *("bootstrap", "--config", given, "--round", str(number)),
            *("--images", self.images, "--state", state.files[0]),
        )
        return self._shards(
            config,
            "bootstrap",
            f"{given} {state.key} {number}",
            command=command,
            inputs=state.files,
            compute=_PLACE,
        )

    def _shards(
        self,
        config: Config,
        stage: str,
        identity: str,
        *,
        command: tuple[str, ...],
        inputs: tuple[str, ...],
        compute: tuple[str, ...],
    ) -> _Made:
        assert config.data is not None
        key = _key(stage, [identity, self.data])
        pattern = str(self.folder / f"masks/{{key}}/shard-{{shard}}-of-{config.shards:04d}.h5")
        made, costs = [], []
        for shard in range(config.shards):
            number = f"{shard:04d}"
            out = pattern.replace("{key}", key).replace("{shard}", number)
            own = (
                *("--index", str(self.layout.index), "--shard", str(shard)),
                *("--on-bad-image", config.data.on_bad_image, "--out", out),
            )
            job = self._job(
                stage,
                key,
                (*command, *own),
                patterns=(pattern,),
                compute=compute,
                inputs=(str(self.layout.index), *inputs),
                shard=number,
            )
            made.append(out)
            costs.append(Path(job.cost))
        return _Made(key, tuple(made), clustered=tuple(costs))

    def _pretrain(self, config: Config, number: int, state: _Made, masks: _Made) -> _Made:
        given = config.for_round(number).only("seed", "model", "views", "pretrain")
        key = _key("pretrain", [given, number, state.key, masks.key, self.data])
        out = str(self.folder / f"states/{key}.pt")
        metrics = self.folder / f"metrics/{key}.jsonl"
        job = self._job(
            "pretrain",
            key,
            (
                *("pretrain", "--config", given, "--round", str(number)),
                *("--images", self.images, "--index", str(self.layout.index)),
                *("--state", state.files[0], "--masks", str(Path(masks.files[0]).parent)),
                *("--out", out, "--work", str(self.folder / "work"), "--metrics", str(metrics)),
            ),
            patterns=(str(self.folder / "states/{key}.pt"),),
            compute=_TRAINING,
            inputs=(str(self.layout.index), *state.files, *masks.files),
        )
        return _Made(
            key,
            (out,),
            trained=(*state.trained, Path(job.cost)),
            metrics=(*state.metrics, metrics),
        )

    def _evaluate(
        self, config: Config, number: int, state: _Made, masks: list[_Made]
    ) -> Iterator[PlannedEvaluation]:
        for evaluation in config.downstream.chosen:
            given = config.only_evaluation(evaluation.name)
            key = _key(evaluation.stage, [given, state.key, self.data])
            out = self.folder / f"evaluations/{key}.json"
            command = ["evaluate", evaluation.command, "--config", given]
            command += ["--backbone", state.files[0], "--out", str(out)]
            patterns, inputs = [str(self.folder / "evaluations/{key}.json")], list(state.files)
            if isinstance(evaluation, OnOwnImages):
                assert self.annotations is not None
                command += ["--images", self.images, "--annotations", self.annotations]
                command += ["--index", str(self.layout.index)]
                inputs += [str(self.layout.index), self.annotations]
            else:
                command += ["--datasets", config.downstream.datasets]
            if isinstance(evaluation, OnDatasets) and evaluation.scores:
                command += ["--scores", str(out.with_suffix(".npz"))]
                patterns.append(str(self.folder / "evaluations/{key}.npz"))
            job = self._job(
                evaluation.stage,
                key,
                tuple(command),
                patterns=tuple(patterns),
                compute=_PLACE if isinstance(evaluation, OnOwnImages) else _LOADING,
                inputs=tuple(inputs),
            )
            clustered = tuple(path for made in masks for path in made.clustered)
            yield PlannedEvaluation(
                evaluation.name,
                number,
                key,
                out,
                state.trained,
                clustered,
                Path(job.cost),
                state.metrics,
            )

    def _job(
        self,
        stage: str,
        key: str,
        command: tuple[str, ...],
        *,
        patterns: tuple[str, ...],
        compute: tuple[str, ...] = (),
        inputs: tuple[str, ...] = (),
        shard: str = "",
    ) -> Job:
        job = Job(stage, key, shard, command, compute, inputs, patterns, self.folder)
        return self.jobs.setdefault(job.cost, job)


def _key(stage: str, identity: object) -> str:
    content = json.dumps([stage, VERSIONS.get(stage), identity], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]

"""Names of the files of a run, for the workflow that makes them and the commands that read them."""

import glob
import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file, sha256
from cyborgs.common.progress import say
from cyborgs.config import Config, load
from cyborgs.evaluation import BY_NAME
from cyborgs.evaluation.kinds import Trained
from cyborgs.images.index import read_index
from cyborgs.masks.shards import Shard, find_shards

# Of a round, a shard or a seed: a number, or a wildcard of Snakemake's such as ``{round}``.
Number: TypeAlias = int | str


def _padded(number: Number, digits: int) -> str:
    return number if isinstance(number, str) else f"{number:0{digits}d}"


def _of_seed(name: str, backbone: str, seed: Number | None) -> str:
    return f"{name}/{backbone}" if seed is None else f"{name}/{backbone}/seed-{seed}"


def run_name(text: str) -> str:
    """A name that a run can have, from that of a folder or a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "run"


class Run:
    """A run's folder, ``results/<run>``, and the one place where its files have their names.

    Attributes:
        folder: the folder; paths of this class begin with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def config(self) -> Path:
        """The checked configuration, as YAML, without the section `compute`."""
        return self.folder / "config.yaml"

    @property
    def settings(self) -> Path:
        """What `cyborgs run` chose, or was told: the file from which it starts the workflow."""
        return self.folder / "run.yaml"

    @property
    def index(self) -> Path:
        """The index of the images."""
        return self.folder / "index.jsonl"

    @property
    def scenes(self) -> Path:
        """Folder of the embedded data, where the run draws it."""
        return self.folder / "scenes"

    def small(self, short_side: int) -> Path:
        """Folder of the shrunk images and annotations, where the run uses such."""
        return self.folder / f"small-{short_side}"

    def state(self, number: Number) -> Path:
        """Training state after a round."""
        return self.folder / f"states/round-{_padded(number, 2)}.pt"

    def masks(self, number: Number) -> Path:
        """Folder of the mask shards of a round."""
        return self.folder / f"masks/round-{_padded(number, 2)}"

    def shard(self, number: Number, shard: Number, shards: int) -> Path:
        """One of the mask shards of a round; as a pattern where ``shard`` is "*"."""
        return self.masks(number) / f"shard-{_padded(shard, 4)}-of-{shards:04d}.h5"

    def shards(self, number: int) -> str:
        """The mask shards of a round: a pattern, or the folder where the run has no `config`.

        A run whose number of shards was changed still has those of the earlier number.
        """
        folder = self.masks(number)
        if not self.config.exists():
            return str(folder)
        name = self.shard(number, "*", self.read_config().shards).name
        return f"{glob.escape(str(folder))}/{name}"

    def metrics(self, number: Number) -> Path:
        """Metrics of each epoch of a round (JSON lines)."""
        return self.folder / f"metrics/round-{_padded(number, 2)}.jsonl"

    def pretrain_cost(self, number: Number) -> Path:
        """Snakemake's record of time and memory of the job that trained a round."""
        return self.folder / f"cost/pretrain/round-{_padded(number, 2)}.tsv"

    def masks_cost(self, number: Number, shard: Number) -> Path:
        """Snakemake's record of time and memory of the job that made a mask shard of a round."""
        return self.folder / f"cost/masks/round-{_padded(number, 2)}/shard-{_padded(shard, 4)}.tsv"

    def costs(self, number: int) -> tuple[list[Path], list[Path]]:
        """Snakemake's records of the jobs that trained a round and that made its masks."""
        shards = range(self.read_config().shards)
        return [self.pretrain_cost(number)], [self.masks_cost(number, n) for n in shards]

    def fixed_k(self, clusters: Number, number: Number) -> Path:
        """Masks of a round at a fixed K, of some of the images."""
        return self.folder / f"quality/k-{clusters}/round-{_padded(number, 2)}.h5"

    def quality(self, kind: str, number: Number) -> Path:
        """Quality of a round's masks (JSON): ``kind`` is "made", or "k-8" for K = 8."""
        return self.folder / f"quality/{kind}/round-{_padded(number, 2)}.json"

    @property
    def quality_table(self) -> Path:
        """Quality of all rounds, as a table."""
        return self.folder / "quality.tsv"

    def evaluation(self, name: str, backbone: str, seed: Number | None = None) -> Path:
        """Metrics of a backbone (JSON), of one seed where the evaluation trains a network."""
        return self.folder / f"downstream/{_of_seed(name, backbone, seed)}.json"

    def evaluation_metrics(self, name: str, backbone: str, seed: Number) -> Path:
        """Metrics of each epoch of a network that an evaluation trains (JSON lines)."""
        return self.folder / f"metrics/downstream/{_of_seed(name, backbone, seed)}.jsonl"

    def evaluation_cost(self, name: str, backbone: str, seed: Number) -> Path:
        """Snakemake's record of time and memory of the job that trained an evaluation's network."""
        return self.folder / f"cost/downstream/{_of_seed(name, backbone, seed)}.tsv"

    def downstream_table(self, suffix: str) -> Path:
        """Metrics of all evaluations: a table (".tsv"), or all of them (".json")."""
        return self.folder / f"downstream{suffix}"

    @property
    def backbone(self) -> Path:
        """The last round's backbone, for other programs."""
        return self.folder / "backbone.pth"

    @property
    def report(self) -> Path:
        """The report (HTML)."""
        return self.folder / "report.html"

    @property
    def work(self) -> Path:
        """Folder of rolling checkpoints."""
        return self.folder / "work"

    def tracking(self, name: str) -> Path:
        """What was sent to a tracker (JSON)."""
        return self.folder / f"tracking/{name}.json"

    def log(self, name: str) -> Path:
        """What a job said."""
        return self.folder / f"logs/{name}.log"

    def backbones(self, name: str, config: Config) -> dict[str, str]:
        """The backbones that an evaluation measures: name in its results to source.

        A source is "random", "imagenet" or the path of a file.
        """
        first = 1 if config.model.weights is None else 0
        found: dict[str, str] = {}
        for backbone in config.downstream.settings(BY_NAME[name]).backbones:
            if backbone in ("random", "imagenet"):
                found[backbone] = backbone
            elif backbone in ("rounds", "last"):
                start = first if backbone == "rounds" else config.rounds
                for number in range(start, config.rounds + 1):
                    found[f"round-{number:02d}"] = str(self.state(number))
            else:
                # Files in different folders may have the same name.
                digest = hashlib.sha256(backbone.encode()).hexdigest()[:8]
                # Braces would be wildcards to Snakemake.
                stem = re.sub("[{}]", "_", Path(backbone).stem)
                found[f"{stem}-{digest}"] = backbone
        return found

    def forget_second_names(self, since: float = 0.0) -> None:
        """Remove the hidden second names of what jobs made (`remember`, workflow/rules/common.smk).

        Args:
            since: of files that were made at this time or later, in seconds since 1970.
        """
        for kind in ("states/.round-*.pt", "masks/*/.shard-*.h5", "downstream/*/*/.seed-*.json"):
            for path in self.folder.glob(kind):
                # Files that `atomic_write` is writing are hidden too.
                if ".part" not in path.suffixes and path.stat().st_mtime >= since:
                    path.unlink()

    def evaluations(self, config: Config) -> list[Path]:
        """What the evaluations of a configuration leave, in the order of tables."""
        files = []
        for name in config.downstream.evaluations:
            trained = isinstance(BY_NAME[name], Trained)
            seeds = range(config.downstream.seeds) if trained else [None]
            for backbone in self.backbones(name, config):
                files += [self.evaluation(name, backbone, seed) for seed in seeds]
        return files

    def rounds(self) -> list[int]:
        """Rounds that have masks, in order, without stale masks of the last round (with a message).

        Masks after the last round are made only on request (``snakemake masks``), so they may
        belong to other images, or to a state that has been made again since.
        """
        return self._rounds

    @cached_property
    def _rounds(self) -> list[int]:
        found = self.folder.glob("masks/round-[0-9][0-9]")
        numbers = sorted(int(path.name[-2:]) for path in found)
        if not self.config.exists():
            return [n for n in numbers if list(self.masks(n).glob("[!.]*.h5"))]
        last = self.read_config().rounds
        numbers = [n for n in numbers if n <= last and glob.glob(self.shards(n))]
        if last in numbers and self._is_left_over(last):
            say(
                f"{self.masks(last)} is left out: its masks were made for another index or from "
                "another state (`snakemake masks` makes them again)"
            )
            numbers.remove(last)
        return numbers

    def _is_left_over(self, number: int) -> bool:
        try:
            with Shard(find_shards(self.shards(number))[0]) as shard:
                header = shard.header
            if self.index.exists() and header.index != read_index(self.index).digest:
                return True
        except InputError:
            # The command that reads it reports the error in detail.
            return False
        state = self.state(number)
        made_from = header.provenance["inputs"].get("state")
        return made_from is not None and state.exists() and made_from != sha256(state)

    def read_config(self) -> Config:
        """The configuration of the run.  Raises `InputError` where it is missing or damaged."""
        return self._read

    @cached_property
    def _read(self) -> Config:
        require_file(self.config, "configuration of the run")
        return load(str(self.config))

    def images(self) -> Path:
        """Folder of the images, from the configuration."""
        data = self.read_config().data
        assert data is not None  # `load` asks for it
        if data.short_side is not None:
            return self.small(data.short_side) / "images"
        return self.scenes / "images" if data.images is None else self._outside(data.images)

    def annotations(self) -> Path | None:
        """Annotations of the images, from the configuration; None where there are none."""
        data = self.read_config().data
        assert data is not None
        if data.scenes is not None:
            return self.scenes / "annotations.json"
        if data.short_side is not None and data.annotations is not None:
            return self.small(data.short_side) / "annotations.json"
        return None if data.annotations is None else self._outside(data.annotations)

    def _outside(self, path: str) -> Path:
        # Paths of a configuration are relative to where the workflow ran, two folders up.
        return self.folder / "../.." / path

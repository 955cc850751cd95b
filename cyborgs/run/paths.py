"""Names of the files of a run, for the workflow that makes them and the commands that read them."""

import glob
import hashlib
import re
from functools import cached_property
from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file, sha256
from cyborgs.common.progress import say
from cyborgs.config import Config, load
from cyborgs.evaluation import BY_NAME
from cyborgs.evaluation.kinds import Trained
from cyborgs.images.index import read_index
from cyborgs.masks.shards import Shard, find_shards


class Run:
    """A run's folder, ``results/<run>``.

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

    def state(self, number: int) -> Path:
        """Training state after a round."""
        return self.folder / f"states/round-{number:02d}.pt"

    def masks(self, number: int) -> Path:
        """Folder of the mask shards of a round."""
        return self.folder / f"masks/round-{number:02d}"

    def shards(self, number: int) -> str:
        """The mask shards of a round: a pattern, or the folder where the run has no `config`.

        A run whose number of shards was changed still has those of the earlier number.
        """
        folder = self.masks(number)
        if not self.config.exists():
            return str(folder)
        return f"{glob.escape(str(folder))}/shard-*-of-{self.read_config().shards:04d}.h5"

    def metrics(self, number: int) -> Path:
        """Figures of each epoch of a round (JSON lines)."""
        return self.folder / f"metrics/round-{number:02d}.jsonl"

    def costs(self, number: int) -> tuple[list[Path], list[Path]]:
        """What Snakemake noted of the jobs that trained a round and that made its masks."""
        count = self.read_config().shards
        masks = [
            self.folder / f"cost/masks/round-{number:02d}/shard-{shard:04d}.tsv"
            for shard in range(count)
        ]
        return [self.folder / f"cost/pretrain/round-{number:02d}.tsv"], masks

    def probe(self, clusters: int, number: int) -> Path:
        """Masks of a round at a fixed K, of some of the images."""
        return self.folder / f"quality/k-{clusters}/round-{number:02d}.h5"

    def quality(self, kind: str, number: int) -> Path:
        """Quality of a round's masks (JSON): ``kind`` is "made", or "k-8" for K = 8."""
        return self.folder / f"quality/{kind}/round-{number:02d}.json"

    def backbones(self, name: str, config: Config) -> dict[str, str]:
        """Each backbone that an evaluation measures: what its results are called, and what it is:
        "random", "imagenet" or a file.
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
                # Files of one name lie in different folders.
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
                # What `atomic_write` has under way is hidden as well.
                if ".part" not in path.suffixes and path.stat().st_mtime >= since:
                    path.unlink()

    def evaluations(self, config: Config) -> list[Path]:
        """What the evaluations of a configuration leave, in the order of tables."""
        files = []
        for name in config.downstream.evaluations:
            for backbone in self.backbones(name, config):
                where = self.folder / f"downstream/{name}"
                if isinstance(BY_NAME[name], Trained):
                    seeds = range(config.downstream.seeds)
                    files += [where / f"{backbone}/seed-{seed}.json" for seed in seeds]
                else:
                    files.append(where / f"{backbone}.json")
        return files

    def rounds(self) -> list[int]:
        """Rounds that have masks, in order; says where the last one's are left over and left out.

        Those are only made when they are asked for (``snakemake masks``), and may be of other
        images, or of a state that was made anew since.
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
            # Whoever reads it says more about it.
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

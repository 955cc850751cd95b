"""A run, open for reading."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyborgs.api import tables
from cyborgs.api.tables import Record
from cyborgs.common.errors import InputError
from cyborgs.common.files import absence
from cyborgs.config import Config
from cyborgs.images.annotations import GroundTruth, Instances
from cyborgs.images.decoding import Entry, decode
from cyborgs.images.finding import find
from cyborgs.images.index import Index, read_index
from cyborgs.run import paths


class Run:
    """A run's folder, open for reading; nothing in it is changed.

    What a run that is still under way has not made yet is missing from what this returns.  Files
    are read when they are first needed, and those that describe the run (configuration, index,
    annotations) only once.

    Attributes:
        folder: as it was given.
        files: the names of the run's files.
        config: the configuration of the run, such as ``config.model.architecture``;
            ``config.model_dump()`` has it as a dictionary.

    Raises:
        InputError: the folder is no run, or its configuration is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.files = paths.Run(self.folder)
        if not self.folder.is_dir():
            raise InputError(f"run {folder} {absence(self.folder, 'folder of a run')}")
        if not self.files.config.exists():
            raise InputError(
                f"run {folder} has no config.yaml, so it is not a run; give the folder of one, "
                "such as results/demo"
            )
        self.config: Config = self.files.read_config()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def rounds(self) -> list[int]:
        """Rounds that have masks, in order; 0 is the seed."""
        return self.files.rounds()

    @cached_property
    def index(self) -> Index:
        """The images: name, height and width of each, and the digest of all."""
        return read_index(self.files.index)

    @cached_property
    def names(self) -> list[str]:
        """Names of the images, in the order of their numbers."""
        return [entry.name for entry in self.index.entries]

    def position(self, image: str | int) -> int:
        """The number of an image.

        Args:
            image: its number, its name, or the end of its name, with or without the suffix.

        Raises:
            InputError: there is no such image, or more than one.
        """
        if isinstance(image, str) and image in self._positions:
            return self._positions[image]
        return find(self.index, str(image))

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def entry(self, image: str | int) -> Entry:
        """The image's line of the index; see `position`."""
        return self.index[self.position(image)]

    def photograph(self, image: str | int) -> NDArray[np.uint8]:
        """An image as RGB, uint8 ``(height, width, 3)``, upright.

        Raises `InputError` where it cannot be decoded, or is another than the one in the index.
        """
        return decode(self.files.images(), self.entry(image))

    def instances(self, image: str | int) -> Instances | None:
        """The annotated objects of an image; None where it, or the run, has no annotations."""
        entry = self.entry(image)
        if self._truth is None or entry.name not in self._truth:
            return None
        return self._truth.instances(entry)

    @cached_property
    def _truth(self) -> GroundTruth | None:
        annotations = self.files.annotations()
        return None if annotations is None else GroundTruth(annotations)

    def metrics(self) -> list[Record]:
        """A record an epoch: ``round``, ``epoch``, ``step``, ``loss``, ``learning_rate`` and more.

        ``pandas.DataFrame`` takes the records of this and of the other tables.
        """
        return tables.metrics(self.files)

    def quality(self) -> list[Record]:
        """A record for each kind of masks and round that was measured against annotations.

        ``masks`` ("K = 8", or "as made" for those that were trained on), ``round``, and the
        metrics, shares in 0 … 1, by the keys that the run's JSON files have; None where one is not
        defined.
        """
        return tables.quality(self.files)

    def evaluations(self) -> list[Record]:
        """A record for each metric of each backbone that was evaluated.

        ``evaluation``, ``backbone`` ("random", "round-02", …), ``round`` (None where it is not the
        run's own), ``metric``, ``mean`` and ``std`` over seeds (shares in 0 … 1; ``std`` is None
        for one seed), ``values`` of the seeds, ``seeds``, ``tested`` and ``classes``.
        """
        return tables.evaluations(self.files)

    def cost(self) -> list[Record]:
        """A record for each round whose jobs Snakemake noted.

        ``round``, ``training_seconds``, ``masks_seconds`` (wall time, summed over jobs),
        ``masks_jobs``, and ``training_bytes`` and ``masks_bytes`` (the most memory that a job
        held); None where no job was noted.
        """
        return tables.cost(self.files)

    def trained(self) -> list[int]:
        """Rounds whose state is there, in order; 0 has the initial weights."""
        return [n for n in range(self.config.rounds + 1) if self.files.state(n).exists()]


def open_run(run: str | Path | Run) -> Run:
    """Open a run, finished or under way.

    Args:
        run: its folder, such as ``results/demo``; one that is open is returned as it is.

    Raises:
        InputError: the folder is no run, or its configuration is damaged.
    """
    return run if isinstance(run, Run) else Run(run)


def among(number: int, found: Sequence[int], run: Run, what: str) -> int:
    """The number of a round, if it is among those found; `InputError` says which there are."""
    if number not in found:
        there = ", ".join(map(str, found)) or "none"
        raise InputError(f"run {run.folder}: round {number} has no {what}; rounds that do: {there}")
    return number

"""What ``cyborgs masks`` commands are given: a run's folder, or masks by themselves."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.masks.shards import Shard, find_shards
from cyborgs.run.paths import Run


@dataclass(frozen=True)
class Sources:
    """Masks of one or several rounds, and what goes with them, as far as it is known.

    Attributes:
        rounds: a title and where the masks are (a folder, a shard or a pattern), in order.
        index: the index of the images.
        images: their folder.
        annotations: COCO instances JSON of the images.
        run: the run, where its folder was given.
    """

    rounds: tuple[tuple[str, str], ...]
    index: Path | None = None
    images: Path | None = None
    annotations: Path | None = None
    run: Run | None = None

    def require_index(self) -> Path:
        """The index; `InputError` where it is not known."""
        if self.index is None:
            raise InputError("masks alone do not say where their index is: give --index")
        return self.index

    def require_annotations(self) -> Path:
        """The annotations; `InputError` where there are none."""
        if self.annotations is None:
            raise InputError(
                "no annotations: give --annotations (a COCO instances JSON of these images)"
            )
        return self.annotations

    def require_one_round(self) -> str:
        """Where the masks of the only round are; `InputError` where there are several."""
        if len(self.rounds) > 1:
            raise InputError(
                f"{len(self.rounds)} rounds are given: name one, such as "
                f"{find_shards(self.rounds[-1][1])[0].parent}"
            )
        return self.rounds[0][1]

    def require_images(self) -> Path:
        """The images' folder; `InputError` where it is not known."""
        if self.images is None:
            raise InputError("masks alone do not say where their images are: give --images")
        return self.images


def resolve(
    where: str,
    index: Path | None = None,
    images: Path | None = None,
    annotations: Path | None = None,
) -> Sources:
    """Find masks: all rounds of a run's folder, or one folder of shards, shard, or pattern.

    A round's folder inside a run's knows the run's files too.  What is given by name comes
    before what the run says.  Raises `InputError` where there are no masks.
    """
    path = Path(where)
    if path.name == "masks" and Run(path.parent).rounds():
        path = path.parent
    inside = next((p for p in path.parents if (p / "index.jsonl").exists()), None)
    if (path / "index.jsonl").exists() or (path / "masks").is_dir():
        run = Run(path)
        rounds = tuple((title_of(n), run.shards(n)) for n in run.rounds())
        if not rounds:
            raise InputError(f"run {where} has no masks yet")
        found = _with_run(Sources(rounds), run)
    else:
        found = Sources(((title_of(_round_of(where)), where),))
        if inside is not None:
            found = _with_run(found, Run(inside))
            found = replace(found, run=None)
    return replace(
        found,
        index=index or found.index,
        images=images or found.images,
        annotations=annotations or found.annotations,
    )


def _round_of(where: str) -> int:
    """The round of masks, from the first file that can be read."""
    first: InputError | None = None
    for path in find_shards(where):
        try:
            with Shard(path) as shard:
                return shard.header.round
        except InputError as error:
            first = first or error
    assert first is not None
    raise first


def pairs(where: str, other: str | None) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """What to compare: two rounds, or each round of a run with the one before.

    Raises `InputError` where that is not what is named.
    """
    rounds = resolve(where).rounds
    if other is None:
        if len(rounds) < 2:
            raise InputError(f"masks {where} are of one round: name another to compare with")
        return list(pairwise(rounds))
    theirs = resolve(other).rounds
    if len(rounds) > 1 or len(theirs) > 1:
        raise InputError(f"{where} and {other}: each must be one round")
    (_, first), (_, second) = rounds[0], theirs[0]
    return [((where, first), (other, second))]


def title_of(number: int) -> str:
    """What people call a round: "seed", "round 1", …"""
    return f"round {number}" if number else "seed"


def _with_run(sources: Sources, run: Run) -> Sources:
    index = run.index if run.index.exists() else None
    if not run.config.exists():
        return replace(sources, index=index, run=run)
    return replace(
        sources, index=index, images=run.images(), annotations=run.annotations(), run=run
    )

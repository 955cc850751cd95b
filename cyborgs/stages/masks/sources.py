"""What ``cyborgs masks`` commands are given: a run's folder, or masks by themselves."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from cyborgs.errors import InputError
from cyborgs.layout import Run
from cyborgs.masks.shards import Shard, find_shards


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
    inside = next((p for p in path.parents if (p / "index.jsonl").exists()), None)
    if (path / "index.jsonl").exists() or (path / "masks").is_dir():
        run = Run(path)
        rounds = tuple((title_of(n), str(run.masks(n))) for n in run.rounds())
        if not rounds:
            raise InputError(f"run {where} has no masks yet")
        found = _with_run(Sources(rounds), run)
    else:
        with Shard(find_shards(where)[0]) as shard:
            found = Sources(((title_of(shard.header.round), where),))
        if inside is not None:
            found = _with_run(found, Run(inside))
            found = replace(found, run=None)
    return replace(
        found,
        index=index or found.index,
        images=images or found.images,
        annotations=annotations or found.annotations,
    )


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
        raise InputError(f"{where} and {other}: name one round of each run")
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

"""``cyborgs masks verify``: whether masks are whole, and where they come from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cyborgs.common.errors import InputError
from cyborgs.common.files import sha256
from cyborgs.common.progress import track
from cyborgs.images.index import Index, read_index
from cyborgs.masks.shards import Masks, Shard, find_shards
from cyborgs.run.paths import Run
from cyborgs.run.sources import Sources


def run(sources: Sources) -> dict[str, Any]:
    """Read every mask and check what can be checked.

    - Every shard: its checksums, and labels that the K of its group allows.
    - Every round: all its shards are there, made alike, and hold each image of the index once
      (the last one only where the index is known).
    - A run: every state and every round of masks was made from the files that lie beside it,
      back to round 0.

    Returns:
        ``rounds`` (titles), ``shards``, ``images`` (masks that were read), ``states`` (files of
        the chain), and ``problems``: a list of lines, each naming what is broken.
    """
    problems: list[str] = []
    index = None
    if sources.index is not None:
        try:
            index = read_index(sources.index)
        except InputError as error:
            problems.append(str(error))
    shards = images = 0
    masks: dict[int, Masks] = {}
    for title, where in sources.rounds:
        paths = find_shards(where)
        shards += len(paths)
        whole = True
        for path in track(paths, len(paths), f"verify {title}", "shards"):
            found = list(_broken(path))
            whole &= not found
            problems += found
            if not found:
                with Shard(path) as shard:
                    images += len(shard)
        if whole:
            missing = _missing(paths)
            problems += missing
            if index is not None and not missing:
                try:
                    checked = Masks(where, index)
                    masks[checked.round] = checked
                except InputError as error:
                    problems.append(str(error))
    states = 0
    if sources.run is not None and index is not None:
        states, unlike = _chain(sources.run, index, masks)
        problems += unlike
    return {
        "rounds": [title for title, _ in sources.rounds],
        "shards": shards,
        "images": images,
        "states": states,
        "problems": problems,
    }


def _broken(path: Path) -> Iterator[str]:
    """What is wrong inside one shard."""
    try:
        with Shard(path) as shard:
            for position, group, clusters in zip(
                shard.positions, shard.groups, shard.clusters, strict=True
            ):
                try:
                    labels = shard.read(int(position))
                except InputError as error:
                    yield str(error)
                    continue
                # Masks of a group share its K labels; others have numbers of their own.
                highest = int(labels.max()) + 1 if group >= 0 else len(np.unique(labels))
                if highest > clusters:
                    yield (
                        f"mask shard {path}: image {position} has {highest} labels, more than "
                        f"its K of {clusters}; delete it and run the workflow again"
                    )
    except InputError as error:
        yield str(error)


def _missing(paths: list[Path]) -> list[str]:
    """Shards of a round that are not there, one line for all."""
    numbers = set()
    for path in paths:
        with Shard(path) as shard:
            numbers.add(shard.header.shard)
            shards = shard.header.shards
    lost = sorted(set(range(shards)) - numbers)
    if not lost:
        return []
    names = ", ".join(map(str, lost[:10])) + (" …" if len(lost) > 10 else "")
    return [
        f"masks {paths[0].parent}: {len(lost)} of {shards} shards are missing ({names}); run the "
        "workflow again"
    ]


def _chain(run: Run, index: Index, masks: dict[int, Masks]) -> tuple[int, list[str]]:
    """States that were read, and each state or round of masks made from other files than these."""
    problems: list[str] = []
    digests: dict[int, str] = {}

    def compare(what: str, inputs: dict[str, str], here: dict[str, tuple[str, str | None]]) -> None:
        for role, (name, digest) in here.items():
            if role in inputs and digest is not None and inputs[role] != digest:
                problems.append(
                    f"{what} was made from another {role} than {name}; delete it and all later "
                    "rounds, and run the workflow again"
                )

    for number in _states(run):
        try:
            inputs = _state_inputs(run.state(number))
        except InputError as error:
            problems.append(str(error))
            continue
        before = number - 1
        digests[number] = sha256(run.state(number))
        compare(
            f"state {run.state(number)}",
            inputs,
            {
                "index": (str(run.index), index.digest),
                "state": (str(run.state(before)), digests.get(before)),
                "masks": (
                    str(run.masks(before)),
                    masks[before].digest if before in masks else None,
                ),
            },
        )
    for number, made in sorted(masks.items()):
        state = (str(run.state(number)), digests.get(number))
        compare(f"masks {run.masks(number)}", made.provenance["inputs"], {"state": state})
        if "state" in made.provenance["inputs"] and not run.state(number).exists():
            problems.append(
                f"masks {run.masks(number)}: cannot be checked, because {run.state(number)}, from "
                "which they were made, is missing"
            )
    return len(digests), problems


def _states(run: Run) -> Iterator[int]:
    return (number for number in range(100) if run.state(number).exists())


def _state_inputs(path: Path) -> dict[str, str]:
    # Imported here: the other commands do not wait for torch.
    from cyborgs.pretraining.state import load_state

    inputs: dict[str, str] = load_state(path).provenance["inputs"]
    return inputs


def text(result: dict[str, Any]) -> str:
    """The result for people."""
    checked = (
        f"{result['images']} masks in {result['shards']} shards of {', '.join(result['rounds'])}"
        + (f", {result['states']} states" if result["states"] else "")
    )
    if not result["problems"]:
        return f"{checked}: all complete" + (
            ", and each made from the files before it" if result["states"] else ""
        )
    return "\n".join([*result["problems"], f"{checked}: {len(result['problems'])} problems"])

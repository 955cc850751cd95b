"""What people call the jobs of a workflow."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Rules that are names for several files: no jobs.
TARGETS = frozenset({"all", "downstream", "masks"})

# Rules without a wildcard: where they belong in a run, and what they are called.
_SINGLE = {
    "scenes": ("data", "scenes"),
    "index": ("data", "index"),
    "configuration": ("data", "configuration"),
    "seed_state": ("seed", "weights"),
    "quality_table": ("end", "quality table"),
    "downstream_table": ("evaluations", "table"),
    "export": ("end", "backbone"),
    "report": ("end", "report"),
    "summary": ("end", "summary"),
    "download_coco": ("downloads", "COCO"),
    "download_voc": ("downloads", "VOC"),
}

# Rules of which there are several jobs.
_SEVERAL = {
    "pretrain": "pretraining",
    "bootstrap": "masks",
    "seed_masks": "masks",
    "fixed_k": "quality",
    "quality_fixed": "quality",
    "quality_made": "quality",
}

# What comes before what in a run; rounds come after "seed".
_GROUPS = ("downloads", "data", "seed", "experiment", "evaluations", "end")
_KINDS = ("scenes", "index", "weights", "pretraining", "masks", "quality")


@dataclass(frozen=True)
class Name:
    """What a job is called.

    Attributes:
        group: the part of the run that it belongs to: "data", "seed", "round 2", "evaluations" ….
        kind: what it does there; jobs of a kind share a line of the tree.
        item: which of those it is ("shard 3 of 8"), or "".
    """

    group: str
    kind: str
    item: str = ""

    def __str__(self) -> str:
        name = f"{self.group}: {self.kind}" if self.group not in ("end", "data") else self.kind
        return f"{name}, {self.item}" if self.item else name

    @property
    def order(self) -> tuple[float, int]:
        """By which the tree is sorted."""
        found = re.fullmatch(r"round (\d+)", self.group)
        if found:
            group = _GROUPS.index("seed") + 1 - 1 / (2 + int(found[1]))
        else:
            group = _GROUPS.index(self.group) if self.group in _GROUPS else len(_GROUPS)
        return group, _KINDS.index(self.kind) if self.kind in _KINDS else len(_KINDS)


def name_of(rule: str, wildcards: Mapping[str, str], outputs: Sequence[str] = ()) -> Name:
    """The name of a job.

    Args:
        rule, wildcards: as the workflow has them.
        outputs: files that it makes; those of mask shards tell how many there are.
    """
    if rule in _SINGLE:
        return Name(*_SINGLE[rule])
    if rule.startswith("evaluate_"):
        of = [wildcards[key] for key in ("backbone", "key") if key in wildcards]
        seed = [f"seed {wildcards['seed']}"] if "seed" in wildcards else []
        return Name("evaluations", rule.removeprefix("evaluate_"), ", ".join(of + seed))
    kind = _SEVERAL.get(rule, rule.replace("_", " "))
    if "key" in wildcards:
        shard = [_shard(wildcards["shard"], outputs)] if wildcards.get("shard") else []
        return Name("experiment", kind, ", ".join([wildcards["key"], *shard]))
    number = int(wildcards["round"]) if wildcards.get("round", "").isdigit() else None
    if number is None and rule != "seed_masks":
        return Name("jobs", kind, ", ".join(wildcards.values()))
    group = f"round {number}" if number else "seed"
    if "shard" in wildcards:
        return Name(group, kind, _shard(wildcards["shard"], outputs))
    if rule == "fixed_k":
        return Name(group, kind, f"masks at K = {wildcards['k']}")
    if rule == "quality_fixed":
        return Name(group, kind, f"at K = {wildcards['k']}")
    return Name(group, kind, "as made" if rule == "quality_made" else "")


def _shard(shard: str, outputs: Sequence[str]) -> str:
    found = [match[1] for path in outputs if (match := re.search(r"-of-(\d+)\.h5$", path))]
    of = f" of {int(found[0])}" if found else ""
    return f"shard {int(shard) + 1}{of}"

"""The record of where an artifact came from."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cyborgs.evaluation import EVALUATIONS
from cyborgs.mask_methods import METHODS

# Raised when a stage's results change for the same inputs, so that runs are made again from
# there on: editing code reruns nothing by itself.
VERSIONS = {
    "scenes": 1,
    "shrink": 1,
    "index": 3,
    "seed-state": 2,
    "pretrain": 3,
    "bootstrap": 4,
    "export": 1,
    "import-masks": 1,
    "quality": 2,
    **{evaluation.stage: evaluation.version for evaluation in EVALUATIONS},
    **{method.STAGE: method.VERSION for method in METHODS},
    "evaluate-table": 1,
    "report": 4,
}

# Libraries whose version can change a result.
_LIBRARIES = ("cyborgs", "torch", "torchvision", "numpy", "pillow", "opencv-python-headless")


def provenance(
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    libraries: Sequence[str] = (),
    hardware: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What made an artifact: stage and its version, settings, hashes of inputs, libraries.

    Holds no time, host or path, so that the same inputs give the same bytes.  ``inputs``
    maps a role ("index", "state", "masks") to a hexadecimal digest; ``libraries`` are those that
    this stage alone uses; ``hardware``, where it matters, is the kind of device and the precision.
    """
    record = {
        "stage": stage,
        "stage_version": VERSIONS[stage],
        "config": dict(config),
        "inputs": dict(inputs),
        "libraries": {name: _version(name) for name in (*_LIBRARIES, *_faiss(), *libraries)},
    }
    return record if hardware is None else record | {"hardware": dict(hardware)}


def key_of(record: Mapping[str, Any]) -> str:
    """A name for work with the settings and inputs of a `provenance`, wherever it is done."""
    content = json.dumps(without_place(record), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def without_place(record: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance without what may differ from machine to machine: libraries and hardware."""
    return {k: v for k, v in record.items() if k not in ("libraries", "hardware")}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _faiss() -> list[str]:
    # One import name, two distributions: record the one that is there.
    return [name for name in ("faiss-cpu", "faiss-gpu") if _version(name) != "not installed"]

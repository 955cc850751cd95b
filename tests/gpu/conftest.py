"""Tests of what only a GPU can show; skipped where there is none.

``CYBORGS_TEST_DEVICE=cpu`` runs them on the CPU instead, as a check of the tests themselves.
"""

import os
from pathlib import Path

import pytest
import torch

from cyborgs.config import Compute
from tests.stages.conftest import tiny, trained

__all__ = ["tiny", "trained"]

ON_CPU = os.environ.get("CYBORGS_TEST_DEVICE") == "cpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.name != "test_script.py":
            item.add_marker(pytest.mark.gpu)
            if not (ON_CPU or torch.cuda.is_available()):
                item.add_marker(pytest.mark.skip(reason="no GPU here"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cpu") if ON_CPU else torch.device("cuda", 0)


@pytest.fixture(scope="session")
def compute(device: torch.device) -> Compute:
    return Compute(device=device.type, threads=1, workers=0, checkpoint_minutes=60)

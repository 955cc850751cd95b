"""Ranks that wait for one another now and then."""

import pytest
import torch

from cyborgs.runtime import distributed


@pytest.mark.parametrize(
    ("items", "ranks", "every"), [(10, 3, 2), (11, 3, 2), (7, 2, 1), (2, 3, 1)]
)
def test_all_ranks_wait_equally_often(
    items: int, ranks: int, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else some would wait for those that are done."""
    waits = []
    for rank in range(ranks):
        met: list[torch.Tensor] = []
        monkeypatch.setattr(distributed, "gather", met.append)
        own = range(rank, items, ranks)
        passed = distributed.in_step(own, items // ranks, every, torch.device("cpu"))
        assert list(passed) == list(own)
        waits.append(len(met))
    assert set(waits) == {items // ranks // every}

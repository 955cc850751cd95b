"""Broken and odd checkpoints by the hundred: refused in a line, or read rightly."""

from collections import Counter

import pytest

from tests.bench.fuzz_checkpoints import check, checkpoints


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_broken_checkpoints_are_refused_or_read(tmp_path):
    """`tests/bench/fuzz_checkpoints.py` does the same for as many as one likes."""
    outcomes = Counter()
    for content, expected in checkpoints(300, seed=0):
        (tmp_path / "x").write_bytes(content)
        outcomes[check(tmp_path / "x", expected)] += 1
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 30

"""The examples of docs/python.md run, one after the other, on the tiny run."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_example_runs(evaluated, monkeypatch):
    pytest.importorskip("pandas")
    assert len(BLOCKS) >= 7
    (evaluated.parent / "demo").symlink_to(evaluated)
    monkeypatch.chdir(evaluated.parent.parent)
    mpl.use("agg")
    names = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["joined"].shape[1:] == (128 + 256 + 512, 2, 3)
    assert names["predictions"].grad is not None
    assert names["quality"].loc[1, "K = 4"] == names["run"].quality()[1]["ari"]
    assert names["epochs"].loss.notna().all()

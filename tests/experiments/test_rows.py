"""Rows of an experiment: written, read again, and refused where they are damaged."""

import json

import pytest

from cyborgs.common.errors import InputError
from cyborgs.experiments.rows import read_rows, write_rows

ROW = {
    "experiment": "tiny",
    "variant": "fixed",
    "seed": 0,
    "round": 2,
    "evaluation": "segmentation",
    "figures": {"miou": 0.2, "accuracy": 0.5},
    "tested": 6,
    "steps": 6,
    "seconds": {"pretrain": 1.5, "masks": 0.0, "evaluate": 2.0},
    "device": "CPU with AVX2",
    "commit": "0123456789ab",
    "changes": {},
    "data": {"annotations": "abc"},
    "index": "def",
    "key": "000000000000",
}


def test_rows_come_back_as_they_were(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [ROW, ROW | {"seed": 1}])
    assert read_rows(tmp_path / "rows.jsonl") == [ROW, ROW | {"seed": 1}]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2 is not JSON"),
        ("3", "line 2 is not a row of an experiment"),
        (json.dumps(ROW | {"seed": "0"}), "line 2 is not a row of an experiment (its 'seed')"),
        (json.dumps(ROW | {"figures": {"miou": 0.2}}), "line 2 lacks metrics of segmentation"),
        (json.dumps(ROW | {"evaluation": "speed"}), "line 2 names an unknown evaluation"),
    ],
)
def test_a_damaged_line_is_told_by_its_number(tmp_path, line, told):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + line + "\n")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(InputError, match="rows of an experiment"):
        read_rows(tmp_path / "rows.jsonl")

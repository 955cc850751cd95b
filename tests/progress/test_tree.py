"""The tree: a run in, lines out."""

import re

import pytest

from cyborgs.progress.jobs import Jobs, State
from cyborgs.progress.tree import Style, columns_of, draw
from tests.progress.runs_shown import NOW, half_way, job, live

ESCAPES = re.compile(r"\x1b\[\d+m")


def test_a_run_at_80_columns():
    assert draw(half_way(), Style(columns=80), NOW) == [
        "results/demo · 18 of 29 jobs done · 2:30 · at least 3 min left",
        "✓ data",
        "✓ seed",
        "▸ round 1",
        "  ✓ pretraining  1:00",
        "  ▸ masks        ━━━━━━━━━━━━────  5 of 8 shards · 2 under way · 10 s left",
        "  · quality",
        "▸ round 2",
        "  ▸ pretraining  ━━━━━━━─────────  40/96 steps · 56 s left",
        "      epoch 3 · loss 5.2345 · 61.2 images/s · 0% waiting for data",
        "· rounds 3–4     pretraining, quality",
        "· end            backbone, report",
    ]


def test_a_run_at_40_columns():
    assert draw(half_way(), Style(columns=40), NOW) == [
        "results/demo · 18 of 29 jobs done · 2:30",
        "at least 3 min left",
        "✓ data",
        "✓ seed",
        "▸ round 1",
        "  ✓ pretraining  1:00",
        "  ▸ masks        5 of 8 shards",
        "      2 under way · 10 s left",
        "  · quality",
        "▸ round 2",
        "  ▸ pretraining  40/96 steps · 56 s left",
        "      epoch 3 · loss 5.2345",
        "      61.2 images/s",
        "      0% waiting for data",
        "· rounds 3–4     pretraining, quality",
        "· end            backbone, report",
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("rows", [3, 8, 100])
@pytest.mark.parametrize("symbols", [False, True])
def test_lines_fit_the_terminal_with_and_without_colour(columns, rows, symbols):
    plain = draw(half_way(), Style(columns, rows, False, symbols), NOW)
    assert len(plain) <= rows
    assert all(columns_of(line) <= columns for line in plain)
    assert symbols or "".join(plain).isascii()
    coloured = draw(half_way(), Style(columns, rows, True, symbols), NOW)
    assert [ESCAPES.sub("", line) for line in coloured] == plain
    assert any(ESCAPES.search(line) for line in coloured)


def test_where_there_are_few_rows_what_is_under_way_stays():
    shown = draw(half_way(), Style(columns=80, rows=7), NOW)
    assert [line.split()[0] for line in shown] == ["results/demo", "▸", "✓", "▸", "▸", "▸", "epoch"]
    shown = draw(half_way(), Style(columns=40, rows=11), NOW)
    assert shown[-1].strip() == "0% waiting for data"


def test_rounds_that_are_done_or_wait_share_a_line_unless_they_are_asked_for():
    jobs = [job("pretrain", State.DONE, 60.0, 100.0 * n, round=f"0{n}") for n in range(1, 4)]
    jobs += [job("pretrain", round=f"0{n}") for n in range(4, 7)]
    assert draw(Jobs("r", jobs), Style(), NOW)[1:] == [
        "✓ rounds 1–3  4:20",
        "· rounds 4–6  pretraining",
    ]
    assert draw(Jobs("r", jobs), Style(), NOW, apart=True)[1:] == [
        "✓ round 1     pretraining 1:00",
        "✓ round 2     pretraining 1:00",
        "✓ round 3     pretraining 1:00",
        "· rounds 4–6  pretraining",
    ]


def test_a_failed_job_is_seen():
    jobs = [job("pretrain", State.FAILED, round="01"), job("bootstrap", round="01", shard="0000")]
    assert draw(Jobs("r", jobs), Style(), NOW)[1:] == [
        "✗ round 1",
        "  ✗ pretraining  failed",
        "  · masks",
    ]


def test_wide_characters_take_two_columns():
    run = Jobs(
        "results/写真" * 8, [job("report", State.RUNNING, None, 990.0, live("report", 1, 3))]
    )
    for line in draw(run, Style(columns=40), NOW):
        assert columns_of(line) <= 40


def test_a_run_of_no_known_jobs():
    assert draw(Jobs("r"), Style(), NOW) == ["r · 0 of 0 jobs done"]
    assert draw(Jobs("r", unknown=3), Style(), NOW) == ["r · 0 of 3 jobs done", "· to come  3 jobs"]

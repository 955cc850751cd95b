"""Runs side by side, from copies of the tiny run; and runs that do not compare, by name."""

import json
import re
import shutil
from statistics import mean, stdev

import h5py
import pytest
import yaml
from scipy import stats

from cyborgs.cli import main
from cyborgs.images.index import read_index, write_index
from cyborgs.run.paths import Run
from cyborgs.stages import compare
from tests.stages.conftest import add_evaluation

MAPS = {"a": [0.30, 0.34, 0.32], "b": [0.36, 0.39, 0.33]}


@pytest.fixture
def pair(results, tmp_path):
    """Two runs that compare: the second with another rate, and figures of its own."""
    folders = [shutil.copytree(results, tmp_path / "results" / name) for name in ("a", "b")]
    for folder in folders:
        add_evaluation(folder, {"random": [0.25], "round-01": MAPS[folder.name]})
    change(folders[1], "pretrain", base_learning_rate=0.5)
    path = Run(folders[1]).quality("k-4", 1)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ari": 0.98765}))
    return folders


def change(folder, section, **values):
    path = folder / "config.yaml"
    content = yaml.safe_load(path.read_text())
    (content if section is None else content[section]).update(values)
    path.write_text(yaml.safe_dump(content))


def rows(text):
    """Cells of the lines of a text that has tables."""
    return [re.split(r"  +", line) for line in text.splitlines()]


def test_settings_that_differ_are_named_and_no_others(pair):
    found = rows(compare.run(pair, None))
    assert found[0] == ["setting", "a", "b"]
    assert found[1] == ["pretrain.base_learning_rate", "0.2", "0.5"]
    assert found[2] == [""]


def test_each_run_says_how_far_it_got(pair):
    text = compare.run(pair, None)
    epochs = [json.loads(s) for s in (pair[0] / "metrics/round-01.jsonl").read_text().splitlines()]
    row = next(r for r in rows(text) if r[:2] == ["a", "1"])
    assert row[2:4] == ["2", f"{epochs[-1]['loss']:.4f}"]


def test_quality_is_of_the_last_round_at_the_same_k(pair):
    found = [r for r in rows(compare.run(pair, None)) if r[0] == "K = 4"]
    ari = json.loads(Run(pair[0]).quality("k-4", 1).read_text())["ari"]
    assert [r[:4] for r in found] == [
        ["K = 4", "a", "1", f"{ari:.4f}"],
        ["K = 4", "b", "1", "0.9877"],
    ]


def test_evaluations_have_spread_and_paired_differences(pair):
    row = next(r for r in rows(compare.run(pair, None)) if r[:2] == ["voc_svm", "round-01"])

    def interval(values):
        low, high = stats.t.interval(0.95, len(values) - 1, mean(values), stats.sem(values))
        return f"({100 * low:.1f} … {100 * high:.1f})"

    less = [b - a for a, b in zip(MAPS["a"], MAPS["b"], strict=True)]
    assert row[2:] == [
        "mAP",
        *(f"{100 * mean(v):.1f} ± {100 * stdev(v):.1f} {interval(v)}" for v in MAPS.values()),
        f"{100 * mean(less):+.1f} {interval(less)}",
    ]
    row = next(r for r in rows(compare.run(pair, None)) if r[:2] == ["voc_svm", "random"])
    assert row[2:] == ["mAP", "25.0", "25.0", "+0.0"]


def test_cost_is_what_snakemake_noted(pair):
    path = pair[1] / "cost/pretrain/round-01.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\tmax_rss\n75.2\t2000.5\n")
    text = compare.run(pair, None)
    assert next(r for r in rows(text) if r[0] == "b")[5:] == ["0:01:15", "-", "2.10 GB"]
    assert next(r for r in rows(text) if r[0] == "a")[5:] == ["-", "-", "-"]


def test_the_page_needs_nothing_else_and_has_all(pair, tmp_path):
    out = tmp_path / "page.html"
    compare.run(pair, out)
    page = out.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    for text in ("pretrain.base_learning_rate", "0.9877", "+4.0", "loss by epoch. a: "):
        assert text in page
    assert page.count('<tr style="--photo: var(--photo-') == compare.SHOWN
    for column in ("photograph", "ground truth", "a, round 1", "b, round 1"):
        assert f'<th scope="col">{column}</th>' in page
    again = tmp_path / "again.html"
    compare.run(pair, again)
    assert again.read_bytes() == out.read_bytes()


def test_three_runs_of_one_name(pair, tmp_path):
    third = shutil.copytree(pair[0], tmp_path / "other/a")
    head = rows(compare.run([*pair, third], None))[0]
    assert head == ["setting", str(pair[0]), "b", str(third)]


def test_runs_with_equal_settings_say_so(pair):
    change(pair[1], "pretrain", base_learning_rate=0.2)
    assert compare.run(pair, None).startswith("All settings are the same.\n")


def test_a_run_under_way_compares_as_far_as_it_got(pair, tmp_path):
    change(pair[1], None, rounds=3)
    text = compare.run(pair, tmp_path / "page.html")
    assert next(r for r in rows(text) if r[0] == "b")[1] == "1 of 3, under way"
    for name in ("states/round-01.pt", "masks/round-01", "quality", "metrics", "downstream"):
        path = pair[1] / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = compare.run(pair, tmp_path / "page.html")
    found = [r for r in rows(text) if r[0] == "b"]
    assert found[0][1:] == ["0 of 3, under way", "0", *["-"] * 5]
    row = next(r for r in rows(text) if r[:2] == ["voc_svm", "round-01"])
    assert row[-2:] == ["-", "-"]


def test_last_rounds_of_different_numbers_share_a_row(pair):
    change(pair[1], None, rounds=2)
    add_evaluation(pair[1], {"round-02": [0.5, 0.6, 0.7]})
    (pair[1] / "downstream/voc_svm/round-01.json").unlink()
    row = next(r for r in rows(compare.run(pair, None)) if r[:2] == ["voc_svm", "last round"])
    assert row[3].startswith("32.0 ")
    assert row[4].startswith("60.0 ")
    assert row[5].startswith("+28.0 ")


def test_quality_of_other_images_is_left_out_by_name(pair, tmp_path):
    """Another seed draws other images for the masks of a fixed K."""
    for path in (pair[1] / "quality/k-4").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            positions = file["images/position"]
            positions[0] = 12 if 12 not in positions[:] else 11
    text = compare.run(pair, None)
    assert text.splitlines()[-1].startswith(
        "quality at K = 4 is left out: b measured other images than a"
    )
    assert not [r for r in rows(text) if r[0] == "K = 4"]
    compare.run(pair, tmp_path / "page.html")
    assert "Quality at K = 4 is left out" in (tmp_path / "page.html").read_text()


class TestRefused:
    def test_other_images(self, pair, refused):
        index = read_index(pair[1] / "index.jsonl")
        write_index(pair[1] / "index.jsonl", index.entries[:12])
        with refused("b has other images than a (12 and 13; 000013.jpg of a is missing)"):
            compare.run(pair, None)

    def test_other_annotations(self, pair, refused):
        for path in (pair[1] / "quality").rglob("*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": "0" * 64}))
        with refused("masks of b were measured against other annotations than those of a"):
            compare.run(pair, None)

    def test_no_k_in_common(self, pair, refused):
        (pair[1] / "quality/k-4").rename(pair[1] / "quality/k-5")
        change(pair[1], "quality", clusters=[5])
        with refused("quality.clusters have no K in common (a [4], b [5])"):
            compare.run(pair, None)

    def test_other_splits_and_settings_of_an_evaluation(self, pair, refused):
        add_evaluation(pair[1], {"round-01": [0.4]}, inputs={"train": "aa", "test": "cc"})
        (pair[1] / "downstream/voc_svm/random.json").unlink()
        with refused("voc_svm: b has data (test) cc, a has bb"):
            compare.run(pair, None)
        add_evaluation(
            pair[1],
            {"round-01": [0.4]},
            inputs={"train": "aa", "test": "bb"},
            config={"voc_svm": {"costs": [0.5]}, "seeds": 7},
        )
        with refused("voc_svm: b has costs [0.5], a has [1.0]"):
            compare.run(pair, None)

    def test_all_that_differs_in_one_line(self, pair, refused):
        index = read_index(pair[1] / "index.jsonl")
        write_index(pair[1] / "index.jsonl", index.entries[1:])
        add_evaluation(pair[1], {"random": [0.4]}, inputs={"train": "aa", "test": "cc"})
        with refused("these runs cannot be compared: b has other images", "; voc_svm: b has data"):
            compare.run(pair, None)

    def test_one_run_or_one_twice(self, pair, tmp_path, refused):
        with refused(f"RUN: only {pair[0]} is given; give two runs or more"):
            compare.run(pair[:1], None)
        (tmp_path / "link").symlink_to(pair[0])
        with refused(f"run {tmp_path / 'link'} is given twice"):
            compare.run([*pair, tmp_path / "link"], None)

    def test_a_folder_that_is_no_run(self, pair, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        for name, message in (("empty", "has no config.yaml"), ("nothing", "does not exist")):
            path = tmp_path / name
            assert main(["compare", str(pair[0]), str(path)]) == 2
            error = capsys.readouterr().err
            assert error.startswith(f"cyborgs compare: error: run {path} {message}")
            assert error.count("\n") == 1


def test_the_command_prints_the_tables(pair, tmp_path, capsys):
    assert main(["compare", *map(str, pair), "--out", str(tmp_path / "p.html")]) == 0
    assert capsys.readouterr().out.rstrip("\n") == compare.run(pair, None)
    assert (tmp_path / "p.html").is_file()

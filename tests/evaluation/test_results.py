"""Results of evaluations: joining seeds, tables, and the command that is kept beside a metric."""

import json
import math
import shlex

import pytest

from cyborgs.cli.evaluate import command_of
from cyborgs.evaluation.results import (
    LONG,
    METRICS,
    TITLES,
    long_rows,
    read_results,
    rows_of,
    write_result,
)
from cyborgs.evaluation.sources import Source
from cyborgs.stages import evaluate_table

RECORD = {
    "stage": "evaluate-coco-instances",
    "stage_version": 1,
    "config": {"coco_instances": {"iterations": 10}},
    "inputs": {"train": "aa11", "test": "bb22", "backbone": "cc33"},
    "libraries": {"cyborgs": "1.0", "torch": "2.0"},
    "hardware": {"device": "CPU with AVX2", "precision": "float32"},
}


def rows(evaluation, *seeds):
    """Metrics of some seeds, all of them different."""
    return [
        {"seed": seed, "test": 40}
        | {name: 0.5 + 0.01 * n + 0.03 * seed**2 for n, name in enumerate(METRICS[evaluation])}
        for seed in seeds
    ]


def write(
    path,
    *seeds,
    evaluation="coco_instances",
    name="run/state.pt",
    layout="a state after round 1",
    architecture="resnet18",
    network="online",
    classes=20,
    command=None,
    **record,
):
    source = Source(name, architecture, layout, "cc33", network, None)
    command = command or f"cyborgs evaluate x --seed {seeds[0]}"
    write_result(
        path,
        evaluation,
        source,
        seeds=rows(evaluation, *seeds),
        command=command,
        provenance=RECORD | record,
        classes=classes,
    )
    return path


def read_table(path):
    """Cells by heading, a row each."""
    header, *lines = (line.split("\t") for line in path.read_text().splitlines())
    assert tuple(header) == LONG
    return [dict(zip(header, line, strict=True)) for line in lines]


class TestWriting:
    def test_a_file_says_what_is_behind_it(self, tmp_path):
        write(tmp_path / "a.json", 4, classes=4)
        found = json.loads((tmp_path / "a.json").read_text())
        assert found["evaluation"] == "coco_instances"
        assert found["backbone"] == {
            "name": "run/state.pt",
            "architecture": "resnet18",
            "layout": "a state after round 1",
            "network": "online",
        }
        assert found["classes"] == 4
        assert found["seeds"] == rows("coco_instances", 4)
        assert found["provenance"] == RECORD
        assert found["commands"] == ["cyborgs evaluate x --seed 4"]
        assert found["mean"]["mask_ap"] == found["seeds"][0]["mask_ap"]
        assert set(found["std"].values()) == {None}

    def test_what_is_returned_is_what_is_written(self, tmp_path):
        source = Source("random", "resnet18", "random weights", "", "online", None)
        path = tmp_path / "a.json"
        given = write_result(
            path,
            "voc_svm",
            source,
            seeds=rows("voc_svm", 0, 1),
            command="cyborgs",
            provenance=RECORD,
            classes=20,
        )
        assert given == json.loads(path.read_text())


class TestJoining:
    def test_seeds_of_one_backbone_are_joined(self, tmp_path):
        paths = [
            write(tmp_path / "a.json", 5),
            write(tmp_path / "b.json", 0, 2),
            write(tmp_path / "c.json", 1),
        ]
        (found,) = read_results(paths)
        assert found["seeds"] == rows("coco_instances", 0, 1, 2, 5)
        for name in METRICS["coco_instances"]:
            values = [row[name] for row in found["seeds"]]
            mean = sum(values) / 4
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 3)
            assert found["mean"][name] == pytest.approx(mean, abs=1e-12)
            assert found["std"][name] == pytest.approx(deviation, abs=1e-12)
        assert sorted(found["commands"]) == [f"cyborgs evaluate x --seed {s}" for s in (0, 1, 5)]
        assert found["provenance"] == RECORD

    def test_the_spread_is_read_by_the_name_that_earlier_versions_gave_it(self, tmp_path):
        path = write(tmp_path / "a.json", 0, 1)
        (found,) = read_results([path])
        path.write_text(path.read_text().replace('"std"', '"deviation"'))
        assert read_results([path]) == [found]

    def test_the_order_of_files_changes_no_metric(self, tmp_path):
        paths = [write(tmp_path / f"{seed}.json", seed) for seed in range(3)]
        (forwards,), (backwards,) = read_results(paths), read_results(paths[::-1])
        for key in ("seeds", "mean", "std", "backbone", "provenance"):
            assert forwards[key] == backwards[key]

    @pytest.mark.parametrize(
        "other",
        [
            {"config": {"coco_instances": {"iterations": 20}}},
            {"inputs": RECORD["inputs"] | {"train": "aa12"}},
            {"inputs": RECORD["inputs"] | {"backbone": "cc34"}},
            {"stage_version": 2},
            {"name": "other.pt"},
            {"architecture": "resnet50"},
            {"network": "target"},
            {"evaluation": "voc_detection"},
        ],
    )
    def test_what_differs_is_not_joined(self, other, tmp_path):
        paths = [write(tmp_path / "a.json", 0), write(tmp_path / "b.json", 1, **other)]
        found = read_results(paths)
        assert sorted(len(result["seeds"]) for result in found) == [1, 1]

    def test_other_libraries_are_joined(self, tmp_path):
        paths = [
            write(tmp_path / "a.json", 0),
            write(tmp_path / "b.json", 1, libraries={"torch": "3.0"}),
        ]
        assert len(read_results(paths)) == 1

    def test_a_seed_that_is_there_twice(self, tmp_path, refused):
        paths = [write(tmp_path / f"{name}.json", *s) for name, s in (("a", [0, 1]), ("b", [2, 1]))]
        with refused("b.json", "seed 1", "run/state.pt", "give each once"):
            read_results(paths)
        with refused("a.json", "seed 0", "run/state.pt"):
            read_results([paths[0], paths[0]])


# Valid files with one thing changed, and what JSON need not be.
def without(key):
    return lambda result: {k: v for k, v in result.items() if k != key}


def changed(**changes):
    return lambda result: result | changes


DAMAGED = {
    "a list": lambda result: [result],
    "a number": lambda _: 3,
    "null": lambda _: None,
    "empty": lambda _: {},
    **{
        f"without {key}": without(key)
        for key in (
            "evaluation", "backbone", "classes", "commands", "seeds", "provenance", "mean",
            "std",
        )
    },
    "unknown evaluation": changed(evaluation="guessing"),
    "no seeds": changed(seeds=[]),
    "a seed without metrics": changed(seeds=[{"seed": 0, "test": 3}]),
    "metrics that are words": changed(
        seeds=[dict.fromkeys(METRICS["coco_instances"], "high") | {"seed": 0, "test": 3}]
    ),
    "seeds that are no rows": changed(seeds=[1, 2]),
    "means that are words": changed(mean=dict.fromkeys(METRICS["coco_instances"], "high")),
    "a name alone": changed(backbone="run/state.pt"),
    "no libraries": changed(provenance={k: v for k, v in RECORD.items() if k != "libraries"}),
    "no inputs": changed(provenance={k: v for k, v in RECORD.items() if k != "inputs"}),
    "commands that are no words": changed(commands=[1]),
}  # fmt: skip


class TestDamaged:
    @pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
    def test_content_that_is_no_result(self, damage, tmp_path, refused):
        path = write(tmp_path / "a.json", 0)
        path.write_text(json.dumps(damage(json.loads(path.read_text()))))
        with refused("a.json", "damaged", "make it again"):
            evaluate_table.run([path], tmp_path / "table.tsv", tmp_path / "all.json")
        assert not (tmp_path / "table.tsv").exists()
        assert not (tmp_path / "all.json").exists()

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"evaluation": "objects"}'])
    def test_a_file_that_is_cut_or_no_text(self, content, tmp_path, refused):
        good, bad = write(tmp_path / "a.json", 0), tmp_path / "b.json"
        bad.write_bytes(content)
        with refused("b.json", "damaged"):
            read_results([good, bad])

    def test_a_file_that_is_not_there(self, tmp_path, refused):
        with refused("result", "b.json does not exist"):
            read_results([write(tmp_path / "a.json", 0), tmp_path / "b.json"])


class TestTables:
    def test_percent_with_deviation(self, tmp_path):
        path = write(tmp_path / "a.json", 0, 1, 2, evaluation="voc_svm")
        # 0.5, 0.53 and 0.62
        header, row = rows_of(read_results([path]))
        assert dict(zip(header, row, strict=True)) == {
            "backbone": "run/state.pt (resnet18)",
            "network": "online",
            "mAP": "55.0 ± 6.2",
            "seeds": "3",
            "tested": "40",
            "classes": "20",
        }

    def test_one_seed_has_no_deviation(self, tmp_path):
        path = write(tmp_path / "a.json", 1, evaluation="voc_svm")
        header, row = rows_of(read_results([path]))
        assert row[header.index("mAP")] == "53.0"

    def test_what_is_not_the_same_behind_all(self, tmp_path):
        configs = [{"voc_svm": {"crop": c, "folds": 3}, "seeds": 1} for c in (224, 128)]
        paths = [
            write(tmp_path / "a.json", 0, evaluation="voc_svm", config=configs[0]),
            write(tmp_path / "b.json", 0, evaluation="voc_svm", config=configs[1]),
        ]
        inputs = RECORD["inputs"] | {"train": "0123456789", "backbone": "other"}
        paths.append(
            write(
                tmp_path / "c.json",
                0,
                evaluation="voc_svm",
                config=configs[0],
                inputs=inputs,
                name="b",
            )
        )
        table = rows_of(read_results(paths))
        expected = ["crop=224, train=aa11", "crop=128, train=aa11", "crop=224, train=01234567"]
        assert [row[-1] for row in table] == ["settings", *expected]
        # Another backbone is told by its own column.
        assert "settings" not in rows_of(read_results(paths[:1]))[0]

    def test_evaluations_are_in_one_order_and_backbones_in_that_of_files(self, tmp_path):
        paths = [
            write(tmp_path / f"{evaluation}-{name}.json", 0, evaluation=evaluation, name=name)
            for evaluation in reversed(TITLES)
            for name in ("second", "first")
        ]
        found = read_results(paths)
        assert [r["evaluation"] for r in found] == [name for name in TITLES for _ in range(2)]
        assert [r["backbone"]["name"] for r in found] == ["second", "first"] * len(TITLES)
        text = evaluate_table.run(paths, None, None)
        at = [text.index(f"{title} (percent)") for title in TITLES.values()]
        assert at == sorted(at)
        assert text.count("second (resnet18)") == len(TITLES)

    def test_every_row_of_the_long_table_has_what_is_behind_it(self, tmp_path):
        paths = [
            write(tmp_path / "a.json", 0),
            write(tmp_path / "b.json", 1),
            write(tmp_path / "c.json", 7, evaluation="voc_svm", inputs={"x": "dd"}),
        ]
        out = tmp_path / "table.tsv"
        evaluate_table.run(paths, out, None)
        table = read_table(out)
        names = [("voc_svm", "map"), *(("coco_instances", n) for n in METRICS["coco_instances"])]
        assert [(row["evaluation"], row["figure"]) for row in table] == names
        results = {result["evaluation"]: result for result in read_results(paths)}
        for row in table:
            joined = row["evaluation"] == "coco_instances"
            result = results[row["evaluation"]]
            assert row["backbone"] == "run/state.pt"
            assert row["architecture"] == "resnet18"
            assert row["network"] == "online"
            assert float(row["mean"]) == pytest.approx(result["mean"][row["figure"]], abs=1e-6)
            deviation = result["std"][row["figure"]]
            if joined:
                assert float(row["std"]) == pytest.approx(deviation, abs=1e-6)
            else:
                assert row["std"] == ""
                assert deviation is None
            assert row["seeds"] == ("0,1" if joined else "7")
            assert json.loads(row["settings"]) == RECORD["config"]
            assert json.loads(row["inputs (SHA-256)"]) == (
                RECORD["inputs"] if joined else {"x": "dd"}
            )
            assert json.loads(row["libraries"]) == RECORD["libraries"]
            seeds = (0, 1) if joined else (7,)
            assert row["command"] == "; ".join(f"cyborgs evaluate x --seed {s}" for s in seeds)

    @pytest.mark.parametrize("white", ["\n", "\t", "\r\n"])
    def test_a_command_of_several_lines_stays_in_its_cell(self, white, tmp_path):
        """As `--config "$(cat config.json)"` gives it."""
        command = command_of(["evaluate", "x", "--config", f'{{{white}"seed": 1}}'])
        out = tmp_path / "table.tsv"
        evaluate_table.run([write(tmp_path / "a.json", 0, command=command)], out, None)
        assert len(read_table(out)) == len(METRICS["coco_instances"])

    def test_the_file_of_json_is_what_was_joined(self, tmp_path):
        paths = [
            write(tmp_path / "a.json", 2, 0),
            write(tmp_path / "b.json", 1),
            write(tmp_path / "c.json", 3, evaluation="objects"),
        ]
        merged = tmp_path / "all.json"
        text = evaluate_table.run(paths, None, merged)
        found = json.loads(merged.read_text())
        assert found == read_results(paths)
        assert [len(result["seeds"]) for result in found] == [1, 3]
        assert long_rows(found) == long_rows(read_results(paths))
        assert f"{100 * found[1]['mean']['mask_ap']:.1f} ± " in text

    def test_nothing_is_written_where_a_file_is_refused(self, tmp_path, refused):
        path = write(tmp_path / "a.json", 0)
        with refused("seed 0"):
            evaluate_table.run([path, path], tmp_path / "table.tsv", tmp_path / "all.json")
        assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


class TestCommand:
    BARE = ("evaluate", "voc-detection", "--backbone", "a b.pt", "--seed", "3", "--out", "x.json")

    @pytest.mark.parametrize(
        "fast",
        [
            "--device cpu",
            "--device=cuda",
            "--threads 2",
            "--threads=2",
            "--processes 4 --nodes 2",
            "--workers 0",
            "--workers=-1",
            "--checkpoint-minutes 0.5",
            "--leave-minutes=3",
            "--work /somewhere --metrics=/elsewhere",
        ],
    )
    @pytest.mark.parametrize("at", [2, 4, 8])
    def test_it_leaves_out_what_changes_no_metric(self, fast, at):
        given = [*self.BARE[:at], *fast.split(), *self.BARE[at:]]
        assert command_of(given) == command_of(list(self.BARE))

    def test_what_is_kept_can_be_run_again(self):
        given = [*self.BARE, "--config", '{"downstream": {"seeds": 1}}', "--network=target"]
        words = shlex.split(command_of([*given, "--threads", "1"]))
        assert words == ["cyborgs", *given]

    def test_words_that_only_look_alike_are_kept(self):
        given = [*self.BARE, "--datasets", "--deviceless", "--config", "--threads-are-here"]
        assert shlex.split(command_of(given)) == ["cyborgs", *given]

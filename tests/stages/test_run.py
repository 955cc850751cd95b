"""`cyborgs run` and `cyborgs init`: what they say and write before the workflow starts."""

import os
from pathlib import Path

import pytest
import yaml

from cyborgs import __version__
from cyborgs.cli import main
from cyborgs.config import load
from cyborgs.config.choosing import Hardware
from cyborgs.run.workflow import WORKFLOW, snakemake_arguments
from cyborgs.stages import run as stage


@pytest.fixture
def photographs(tmp_path, write_image, monkeypatch):
    """A folder of 24 small images, below the working folder, on a machine of two cores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "_hardware", lambda _: Hardware(2, name="two cores"))
    for number in range(24):
        write_image(tmp_path / f"My photos!/{number}.png", (64, 96))
    return "My photos!"


@pytest.fixture
def started(monkeypatch):
    """The commands that would have been started; none is."""
    commands = []
    monkeypatch.setattr(stage, "stand_in", lambda command, _: commands.append(command) or 0)
    return commands


def told(capsys, *words):
    """What a command that must be refused says, without its name."""
    assert main(["run", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("cyborgs run: error: ")


def test_a_run_writes_what_it_chose_and_starts_from_there(photographs, started, capsys):
    assert main(["run", photographs, "--rounds", "2", "--set", "views.crop=32"]) == 0
    file = "results/My-photos/run.yaml"
    config = load(file)
    assert (config.run, config.rounds, config.views.crop) == ("My-photos", 2, 32)
    assert config.data.images == photographs
    text = Path(file).read_text()
    assert text.startswith(f"# Settings of this run, by cyborgs {__version__}:")
    assert "crop: 32 # given on the command line" in text
    assert "batch_size: 8 # 8, not 32" in text
    assert started[0][1:3] == ["-m", "snakemake"]
    assert started[0][3:] == snakemake_arguments(file, "default", [])
    shown = capsys.readouterr().out
    assert "rounds: 2" in shown
    assert "pretrain.batch_size: 8, not 32" in shown
    assert f"snakemake --snakefile {WORKFLOW}/Snakefile --configfile {file}" in shown


def test_the_second_start_keeps_the_settings(photographs, started, capsys):
    main(["run", photographs])
    file = "results/My-photos/run.yaml"
    text = Path(file).read_text().replace("hidden: 1024", "hidden: 99")
    Path(file).write_text(text)
    capsys.readouterr()
    assert main(["run", os.path.abspath(photographs), "--", "--forcerun", "export"]) == 0
    assert Path(file).read_text() == text
    shown = capsys.readouterr().out.splitlines()
    assert f"settings: from {file}, as the run was begun (or changed there)" in shown
    assert started[1] == [*started[0], "--forcerun", "export"]


def test_a_flag_changes_that_value_and_what_follows_from_it(photographs, started, capsys):
    main(["run", photographs, "--set", "model.hidden=99"])
    before = load("results/My-photos/run.yaml")
    main(["run", photographs, "--rounds", "4"])
    more = load("results/My-photos/run.yaml")
    assert more == before.model_copy(update={"rounds": 4})
    capsys.readouterr()
    main(["run", photographs, "--rounds", "5"])
    assert "horizon_epochs: 80 of 100 epochs" in capsys.readouterr().out
    main(["run", photographs, "--backbone", "resnet50"])
    other = load("results/My-photos/run.yaml")
    assert (other.model.architecture, other.bootstrap.block) == ("resnet50", "layer2.2")
    # Set before, and kept.
    assert other.model.hidden == 99


def test_a_configuration_is_run_as_it_is(photographs, started):
    assert main(["init", "mine.yaml"]) == 0
    text = Path("mine.yaml").read_text() + "quality: {images: 6}\n"
    text = text.replace("images: photos", f"images: {photographs}")
    Path("mine.yaml").write_text(text.replace("batch_size: 32", "batch_size: 8"))
    assert main(["run", "mine.yaml", "--rounds", "3"]) == 0
    assert started[0][3:] == snakemake_arguments("mine.yaml", "default", [])
    assert not os.path.exists("results")


def test_flags_may_not_contradict_a_configuration(photographs, capsys):
    config = {"run": "x", "rounds": 3, "data": {"images": photographs}}
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    line = told(capsys, "mine.yaml", "--rounds", "4")
    assert line == "rounds: 4 on the command line, but 3 by mine.yaml; change it there"
    assert told(capsys, "mine.yaml", "--name", "y").startswith("--name y: mine.yaml has run: x")
    assert "did you mean 'crop'" in told(capsys, "mine.yaml", "--set", "views.crops=3")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["{}", "--rounds", "2", "--set", "rounds=3"], ["--rounds 2 and --set rounds=3"]),
        (["{}", "--set", "run=x"], ["use --name"]),
        (["{}", "--set", "data.images=x"], ["data.images", "the folder itself"]),
        (["{}", "--backbone", "resnet5"], ["resnet5", "did you mean resnet50"]),
        (["{}", "--set", "pretrain.batch_size=64"], ["batch_size", "only 24"]),
        (["{}", "--profile", "x"], ["--profile x", "default, slurm, workstation"]),
        (["{}", "--name", "a/b"], ["run", "a/b"]),
        (["{}/0.png"], ["is a file", "folder of photographs"]),
        (["nowhere"], ["nowhere does not exist"]),
        (["/dev/null"], ["neither file nor folder"]),
        (["."], ["results/ would be inside it"]),
        (["empty"], ["empty holds no images"]),
        (["few"], ["4 images are too few", "at least 8"]),
        (["broken"], ["none of the images in broken", "cyborgs data check broken"]),
    ],
)
def test_what_cannot_be_run_is_refused(words, parts, photographs, started, write_image, capsys):
    os.mkdir("empty")
    os.mkdir("broken")
    for number in range(9):
        Path(f"broken/{number}.png").write_text("x")
    for number in range(4):
        write_image(Path(f"few/{number}.png"), (64, 96))
    line = told(capsys, *(word.format(photographs) for word in words))
    for part in parts:
        assert part in line
    assert started == []
    assert not os.path.exists("results")


def test_a_pipe_is_no_source(photographs, capsys):
    os.mkfifo("pipe")
    assert "neither file nor folder" in told(capsys, "pipe")


def test_results_that_cannot_be_written_are_refused(photographs, started, capsys):
    Path("results").touch()
    assert "results is not a folder" in told(capsys, photographs)
    assert started == []


def test_runs_of_others_are_refused(photographs, started, write_image, capsys):
    main(["run", photographs, "--name", "one"])
    for number in range(9):
        write_image(Path(f"others/{number}.png"), (64, 96))
    capsys.readouterr()
    line = told(capsys, "others", "--name", "one")
    assert line == "results/one is a run of My photos!, not of others; choose another --name"
    os.rename("results/one/run.yaml", "results/one/config.yaml")
    assert "has no run.yaml" in told(capsys, photographs, "--name", "one")


def test_a_run_of_another_version_goes_on_or_is_refused(photographs, started, capsys):
    main(["run", photographs, "--name", "one"])
    file = "results/one/run.yaml"
    text = Path(file).read_text().replace(f"cyborgs {__version__}:", "cyborgs 0.0.1:")
    Path(file).write_text(text)
    capsys.readouterr()
    assert main(["run", photographs, "--name", "one"]) == 0
    assert f"begun by cyborgs 0.0.1, this is {__version__}" in capsys.readouterr().out
    Path(file).write_text(text + "newer: 1\n")
    line = told(capsys, photographs, "--name", "one")
    assert line.startswith(f"{file} cannot be used. It was written by cyborgs 0.0.1")
    assert "newer: unknown key" in line


def test_profiles_of_ones_own_come_first(photographs):
    os.makedirs("profiles/slurm")
    Path("profiles/slurm/config.yaml").write_text("cores: 1\n")
    arguments = snakemake_arguments("x.yaml", "slurm", [])
    assert arguments[-2:] == ["--workflow-profile", "profiles/slurm"]


def test_a_profile_whose_executor_is_missing_is_refused(photographs, refused):
    os.makedirs("mine")
    Path("mine/config.yaml").write_text("executor: no-such\n")
    with refused("--profile mine", "pip install snakemake-executor-plugin-no-such"):
        snakemake_arguments("x.yaml", "mine", [])


def test_init_writes_a_configuration_that_is_accepted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert main(["config", "config.yaml"]) == 0
    text = Path("config.yaml").read_text()
    assert "rounds: 3 # pretraining rounds" in text
    assert max(map(len, text.splitlines())) <= 100
    assert main(["init"]) == 2
    assert "config.yaml exists already" in capsys.readouterr().err


def test_init_copies_a_configuration_that_comes_along(tmp_path, capsys):
    for name in ("demo", "coco", "coco-small", "coco-published"):
        assert main(["init", str(tmp_path / f"{name}.yaml"), "--like", name]) == 0
        assert load(str(tmp_path / f"{name}.yaml")).run == name
    assert main(["init", str(tmp_path / "x.yaml"), "--like", "x"]) == 2
    assert "coco, coco-published, coco-small, demo" in capsys.readouterr().err

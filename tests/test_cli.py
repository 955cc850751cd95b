"""The command line: help, exit status, one line for a mistake."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cyborgs import __version__
from cyborgs.cli import main

COMMANDS = [
    ["config"], ["scenes"], ["index"], ["seed", "state"], ["seed", "masks"], ["pretrain"],
    ["bootstrap"], ["export"], ["report"], ["status"], ["masks", "info"], ["masks", "stats"],
    ["masks", "show"], ["masks", "compare"], ["masks", "verify"], ["masks", "quality"],
    ["masks", "export"], ["masks", "import"], ["masks", "table"], ["track"], ["completion"],
    ["data", "weights"],
]  # fmt: skip


@pytest.mark.parametrize("command", [[], ["seed"], ["masks"], *COMMANDS], ids=" ".join)
def test_help_explains(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {' '.join(['cyborgs', *command])}")
    assert len(shown.splitlines()) > 5


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"cyborgs {__version__}\n"


def test_help_needs_no_heavy_library():
    code = (
        "import sys\nfrom cyborgs.cli import main\n"
        "try: main(['pretrain', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'cv2', 'faiss', 'h5py') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["config", "nothing.yaml"],
            "cyborgs config: error: --config: nothing.yaml does not exist",
        ),
        (
            ["seed", "state", "--config", "{", "--out", "x.pt"],
            "cyborgs seed state: error: --config: not JSON",
        ),
        (
            ["seed", "state", "--config", '{"modle": {}}', "--out", "x.pt"],
            "cyborgs seed state: error: config: modle: unknown key; did you mean 'model'?",
        ),
        (
            ["index", "--images", "nowhere", "--out", "x.jsonl"],
            "cyborgs index: error: data.images: folder nowhere does not exist",
        ),
        (
            ["export", "--state", "nothing.pt", "--out", "x.pth"],
            "cyborgs export: error: state nothing.pt does not exist",
        ),
        (
            ["masks", "quality", "m", "--index", "i.jsonl", "--annotations", "a.json"],
            "cyborgs masks quality: error: masks m: no mask shards there",
        ),
        (
            ["masks", "table", "--row", "K = 8", "q.json", "--out", "t.tsv"],
            "cyborgs masks table: error: quality q.json does not exist",
        ),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--state", "a.pt", "--out", "a.pt"], "export: error: --out: a.pt is an input"),
        (["import", "a.pt", "--out", "a.pt"], "import: error: --out: a.pt is an input"),
        (
            ["evaluate", "voc-svm", "--backbone", "a.pt", "--out", "./a.pt"],
            "evaluate voc-svm: error: --out: a.pt is an input",
        ),
        (["evaluate", "table", "a.pt", "--json", "a.pt"], "table: error: --json: a.pt is an input"),
        (
            ["evaluate", "table", "a.pt", "--json", "x", "--out", "x"],
            "table: error: --json: x is --out too",
        ),
        (
            ["evaluate", "coco-instances", "--backbone", "a.pt", "--out", "x", "--metrics", "."],
            "coco-instances: error: --metrics: . is a folder",
        ),
        (["index", "--images", ".", "--out", "a.pt/i"], "index: error: --out: cannot write a.pt/i"),
        (["import", "a.pt", "--out", ".."], "import: error: --out: .. is a folder; name a file"),
        # Where a folder is meant, it may be there.
        (
            ["data", "shrink", "--images", "none", "--short-side", "9", "--out", ".."],
            "shrink: error: data.images: folder none does not exist",
        ),
    ],
)
def test_no_input_is_written_over(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_text("precious")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_faults_of_the_machine_are_one_line(code, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError(code, "no luck", "some/file")

    monkeypatch.setattr("cyborgs.stages.index.run", fail)
    assert main(["index", "--images", "a", "--out", "b"]) == 1
    assert capsys.readouterr().err == "cyborgs index: error: no luck: some/file\n"


def test_other_faults_keep_their_traceback(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr("cyborgs.stages.index.run", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["index", "--images", "a", "--out", "b"])


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cyborgs.stages.index.run", fail)
    assert main(["index", "--images", "a", "--out", "b"]) == 130
    told = "cyborgs index: interrupted (SIGINT); the same command starts it again\n"
    assert capsys.readouterr().err == told


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="waits for a file through /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_that_is_ended_leaves_no_half_a_file(tmp_path, number, status):
    """It waits for a list of files, which nobody writes."""
    os.mkfifo(tmp_path / "list")
    (tmp_path / "photos").mkdir()
    program = (
        "import sys; from pathlib import Path; from cyborgs.cli import entry\n"
        "import cyborgs.stages.index as stage\n"
        "from cyborgs.common.files import atomic_write\n"
        "def run(images, out, **rest):\n"
        "    with atomic_write(out):\n"
        "        print('writing', flush=True)\n"
        "        open(images.parent / 'list').read()\n"
        "stage.run = run\n"
        "entry()\n"
    )
    process = subprocess.Popen(
        [
            sys.executable, "-c", program, "index", "--images", tmp_path / "photos",
            "--out", tmp_path / "out/index.jsonl",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "writing\n"
    assert [path.suffixes[0] for path in (tmp_path / "out").iterdir()] == [".part"]
    process.send_signal(number)
    assert process.wait(timeout=60) == status
    assert process.stderr.read().endswith(
        f"interrupted ({number.name}); the same command starts it again\n"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_config_prints_the_defaults(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text("data: {images: photos}\nrounds: 5\n")
    assert main(["config", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "rounds: 5\n" in shown
    assert "  architecture: resnet50\n" in shown


def test_hardware_is_told(capsys):
    assert main(["hardware", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("device     CPU with ")
    for name in ("CPU cores", "memory", "precision", "PyTorch", "FAISS"):
        assert f"\n{name}" in told


def test_memory_of_a_gpu_that_runs_out_is_one_line(monkeypatch, capsys):
    import torch

    from cyborgs.stages import hardware

    def full(device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore")

    monkeypatch.setattr(hardware, "run", full)
    assert main(["hardware"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("cyborgs hardware: error: GPU memory is full (CUDA out of memory.")
    assert said.count("\n") == 1

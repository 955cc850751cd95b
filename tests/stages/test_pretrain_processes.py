"""Training in processes of their own: killed, asked to leave, several at once."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cyborgs.images.index import read_index
from cyborgs.masks.shards import Masks
from cyborgs.pretraining.samples import TwoViews
from cyborgs.pretraining.state import load_state
from cyborgs.pretraining.trainer import Trainer
from cyborgs.training.batches import Steps, arrived, load_batches
from tests.stages.conftest import TinyRun, command, wait_for


@pytest.mark.slow
def test_kill_dash_nine_and_again_gives_the_same_bytes(tiny, trained, tmp_path):
    out = tmp_path / "s.pt"
    process = subprocess.Popen(command(tiny, out, "--checkpoint-minutes", "0"))
    wait_for(process, lambda: list(tmp_path.glob("work/pretrain-*.pt")))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    again = subprocess.run(command(tiny, out), capture_output=True, text=True, check=True)
    assert "continuing from step" in again.stderr
    assert out.read_bytes() == trained.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("SIGTERM", "2"), ("SIGUSR1", "0"), ("SIGINT", "2")])
def test_a_signal_saves_and_leaves_with_a_status_that_says_so(
    tiny, trained, tmp_path, name, workers
):
    """To the whole process group, as batch systems and terminals send it."""
    out = tmp_path / "s.pt"
    process = subprocess.Popen(
        [*command(tiny, out), "--workers", workers, "--checkpoint-minutes", "0"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(process, lambda: list(tmp_path.glob("work/pretrain-*.pt")))
    os.killpg(process.pid, getattr(signal, name))
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 75
    assert re.search(rf"left after step \d \({name}\), all saved; the same command continues", said)
    assert "Traceback" not in said
    assert not out.exists()
    again = subprocess.run(command(tiny, out), capture_output=True, text=True, check=True)
    assert "continuing from step" in again.stderr
    assert out.read_bytes() == trained.read_bytes()


@pytest.mark.slow
def test_two_processes_finish_a_round(tiny, trained, tmp_path):
    out = tmp_path / "s.pt"
    (tmp_path / "temporary").mkdir()
    subprocess.run(
        command(tiny, out, "--processes", "2"),
        check=True,
        capture_output=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )
    assert not list((tmp_path / "temporary").glob("torchelastic_*"))
    assert not list((tmp_path / "temporary").glob("tmp*"))
    alone, together = load_state(trained), load_state(out)
    assert (together.round, together.step) == (alone.round, alone.step)
    assert together.provenance == alone.provenance
    assert all(torch.isfinite(v).all() for v in together.online.values())


@pytest.mark.slow
def test_two_processes_under_torchrun_finish_the_same_round(tiny, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    for name, first in (("a", [*launch, "2"]), ("b", [sys.executable])):
        line = [*first, *command(tiny, tmp_path / f"{name}.pt", "--processes", "2")[1:]]
        subprocess.run(line, check=True, capture_output=True)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_with_its_message(tiny, tmp_path):
    """An image of the second process's part of the first step has gone."""
    images = shutil.copytree(tiny.images, tmp_path / "images")
    index = read_index(tiny.index)
    steps = Steps(
        len(index),
        np.arange(len(index)),
        batch_size=4,
        first=0,
        last=1,
        seed=3,
        rank=1,
        ranks=2,
    )
    position = next(iter(steps))[0][1]
    (images / index[position].name).unlink()
    line = [*command(tiny, tmp_path / "s.pt", "--processes", "2"), "--images", str(images)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 2
    assert f"process 1: error: image {index[position].name}: cannot read" in ended.stderr
    assert "process 0: lost another process (see its message)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "s.pt").exists()


@pytest.mark.slow
def test_a_killed_process_ends_all(tiny, tmp_path):
    process = subprocess.Popen(
        command(tiny, tmp_path / "s.pt", "--processes", "2", "--checkpoint-minutes", "0"),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, lambda: list(tmp_path.glob("work/pretrain-*.pt")))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said = process.communicate(timeout=600)[1]
    assert process.returncode != 0
    assert "lost another process" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "send"), [("SIGTERM", os.kill), ("SIGUSR1", os.kill), ("SIGINT", os.killpg)]
)
def test_a_signal_to_two_processes_saves(tiny, tmp_path, name, send):
    """To the process that started them; Ctrl-C goes to all of them."""
    line = command(tiny, tmp_path / "s.pt", "--processes", "2", "--checkpoint-minutes", "0")
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(process, lambda: list(tmp_path.glob("work/pretrain-*.pt")))
    send(process.pid, getattr(signal, name))
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 75
    assert "all saved; the same command continues" in said
    assert "Traceback" not in said
    again = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "continuing from step" in again.stderr


def steps_without_normalisation(tiny, vmf, rank, ranks):
    """Losses and online weights after three steps in which BatchNorm keeps its statistics."""
    index, config = read_index(tiny.index), tiny.config()
    config = tiny.config(pretrain=config.pretrain.model_dump() | {"vmf": vmf})
    trainer = Trainer(
        load_state(tiny.state),
        config.pretrain,
        steps_per_epoch=3,
        device=torch.device("cpu"),
        seed=config.seed,
    )
    trainer.pair.eval()
    dataset = TwoViews(
        tiny.images,
        index,
        Masks(str(tiny.masks), index),
        config.views,
        cell=32,
        samples=4,
        seed=config.seed,
    )
    steps = Steps(
        len(index),
        np.arange(len(index)),
        batch_size=4,
        first=0,
        last=3,
        seed=config.seed,
        rank=rank,
        ranks=ranks,
    )
    losses = [
        trainer.train_step(b).read()[0]
        for b in arrived(load_batches(dataset, steps, workers=0, pin=False))
    ]
    return losses, {k: p.detach() for k, p in trainer.pair.online.named_parameters()}


def on_rank(rank, run, vmf, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        result = steps_without_normalisation(TinyRun(run), vmf, rank, 2)
        torch.save(result, folder / f"rank-{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("vmf", [{}, {"weight": 5.0, "clusters": [4, 8]}], ids=["", "vmf"])
def test_two_processes_take_the_steps_of_one(tiny, tmp_path, vmf):
    losses, weights = steps_without_normalisation(tiny, vmf, 0, 1)
    mp.spawn(on_rank, args=(tiny.folder, vmf, tmp_path), nprocs=2)
    start = load_state(tiny.state).online
    for rank in range(2):
        their_losses, their_weights = torch.load(tmp_path / f"rank-{rank}.pt")
        assert their_losses == pytest.approx(losses, rel=1e-5)
        for name, weight in weights.items():
            moved = weight - start[name]
            difference = (their_weights[name] - weight).norm()
            assert difference <= 1e-3 * moved.norm() + 1e-7, name

"""A round of training: exact, resumable, and particular about what it is given."""

import resource
import shutil
import signal
import subprocess
from pathlib import Path

import h5py
import pytest
import torch

from cyborgs.common.errors import InputError
from cyborgs.images.index import read_index
from cyborgs.pretraining.state import load_state
from cyborgs.pretraining.trainer import Trainer
from cyborgs.runtime import hardware
from cyborgs.stages import bootstrap, index, pretrain, seed_masks, seed_state
from cyborgs.training.metrics import read_metrics
from tests.stages.conftest import COMPUTE, SETTINGS, command, train


def test_a_round_trains_and_counts_its_steps(tiny, trained):
    before, after = load_state(tiny.state), load_state(trained)
    assert (after.round, after.step) == (1, 2 * (13 // 4))
    assert set(after.momentum_buffers) == {k for k in after.online if k in after.momentum_buffers}
    assert "projector.0.weight" in after.momentum_buffers
    for name in ("online", "target"):
        weight = "backbone.layer4.1.conv2.weight"
        assert not torch.equal(getattr(before, name)[weight], getattr(after, name)[weight])


def test_workers_change_no_byte(tiny, trained, tmp_path):
    compute = COMPUTE.model_copy(update={"workers": 2})
    assert train(tiny, tmp_path / "s.pt", compute=compute) == trained.read_bytes()


def test_the_seed_changes_the_result(tiny, trained, tmp_path):
    config = tiny.config(seed=4)
    train(tiny, tmp_path / "s.pt", config=config)
    weight = "backbone.conv1.weight"
    assert not torch.equal(
        load_state(tmp_path / "s.pt").online[weight], load_state(trained).online[weight]
    )


def interrupt(tiny, out, monkeypatch, config=None, state=None):
    """Begin a round, and break off before its fifth step."""
    step = Trainer.train_step

    def fail_at_four(self, *arguments):
        if self.step == 4:
            raise KeyboardInterrupt
        return step(self, *arguments)

    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", fail_at_four)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, out, config=config, state=state, compute=always)
    assert not out.exists()


def test_an_interrupted_round_continues_to_the_same_bytes(tiny, trained, tmp_path, monkeypatch):
    interrupt(tiny, tmp_path / "s.pt", monkeypatch)
    names = sorted(p.name.split("-")[-1] for p in (tmp_path / "work").iterdir())
    assert names == ["000000003.pt", "000000004.pt"]

    step = Trainer.train_step
    taken = []
    monkeypatch.setattr(Trainer, "train_step", lambda s, *a: taken.append(s.step) or step(s, *a))
    assert train(tiny, tmp_path / "s.pt") == trained.read_bytes()
    assert taken == [4, 5]
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.slow
def test_scrambled_masks_train_otherwise_and_continue_to_the_same_bytes(
    tiny, trained, tmp_path, monkeypatch
):
    config = with_pretrain(tiny, scramble_masks=True)
    whole = train(tiny, tmp_path / "whole" / "s.pt", config=config)
    assert whole != trained.read_bytes()
    scrambled, plain = load_state(tmp_path / "whole" / "s.pt"), load_state(trained)
    assert not torch.equal(
        scrambled.online["predictor.0.weight"], plain.online["predictor.0.weight"]
    )
    assert scrambled.provenance["config"]["pretrain"]["scramble_masks"] is True
    interrupt(tiny, tmp_path / "s.pt", monkeypatch, config)
    assert train(tiny, tmp_path / "s.pt", config=config) == whole


def test_a_round_of_sgd_continues_to_the_same_bytes(tiny, trained, tmp_path, monkeypatch):
    config = tiny.config(pretrain=tiny.config().pretrain.model_dump() | {"sgd": {}})
    whole = train(tiny, tmp_path / "whole" / "s.pt", config=config)
    assert whole != trained.read_bytes()
    interrupt(tiny, tmp_path / "s.pt", monkeypatch, config)
    assert train(tiny, tmp_path / "s.pt", config=config) == whole


VMF = {"weight": 0.5, "every": 2, "clusters": [2, 8]}


@pytest.mark.slow
def test_the_vmf_term_trains_in_its_epochs_and_continues_to_the_same_bytes(
    tiny, trained, tmp_path, monkeypatch
):
    """From the fourth step on, in this run; the interruption is within its first epoch."""
    config = with_pretrain(tiny, vmf=VMF)
    whole = train(
        tiny, tmp_path / "whole" / "s.pt", config=config, metrics=tmp_path / "metrics.jsonl"
    )
    train(tiny, tmp_path / "plain" / "s.pt", metrics=tmp_path / "plain.jsonl")
    (first, second), plain = (
        read_metrics(tmp_path / f"{name}.jsonl") for name in ("metrics", "plain")
    )
    assert [first["loss"], "vmf" in first] == [plain[0]["loss"], False]
    assert 0 < second["vmf"] < 20
    # The weights of its first step are those of the plain run; they drift apart after it.
    assert second["loss"] == pytest.approx(plain[1]["loss"] + 0.5 * second["vmf"], rel=1e-2)
    assert whole != trained.read_bytes()
    moved = [
        load_state(path).online["backbone.layer4.1.conv2.weight"]
        for path in (tmp_path / "whole" / "s.pt", trained)
    ]
    assert not torch.equal(*moved)
    interrupt(tiny, tmp_path / "s.pt", monkeypatch, config)
    assert train(tiny, tmp_path / "s.pt", config=config) == whole


def test_more_clusters_than_locations_are_refused_before_anything_is_read(tiny, tmp_path, refused):
    config = with_pretrain(tiny, vmf=VMF | {"clusters": [2, 33]})
    with refused("pretrain.vmf.clusters: up to 33 clusters, but a step has 32 locations"):
        train(tiny, tmp_path / "s.pt", config=config, state=tmp_path / "missing.pt")


def test_metrics_of_epochs_survive_an_interruption(tiny, trained, tmp_path, monkeypatch):
    train(tiny, tmp_path / "a.pt", metrics=tmp_path / "a.jsonl")
    whole = read_metrics(tmp_path / "a.jsonl")
    assert [(r["epoch"], r["step"], r["steps"]) for r in whole] == [(1, 3, 3), (2, 6, 3)]
    assert all(r["images_per_second"] > 0 and r["seconds"] > 0 for r in whole)
    assert all(0 <= r["waiting"] <= 1 and 0 < r["positives"] <= 1 for r in whole)
    assert all(1 <= r["masks_in_view"] <= 4 and r["projection_spread"] > 0 for r in whole)

    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "save_state", interrupt_after(pretrain.save_state, 5))
        with pytest.raises(KeyboardInterrupt):
            train(tiny, tmp_path / "b.pt", compute=always, metrics=tmp_path / "b.jsonl")
    train(tiny, tmp_path / "b.pt", metrics=tmp_path / "b.jsonl")
    again = read_metrics(tmp_path / "b.jsonl")
    assert [(r["epoch"], r["step"], r["steps"]) for r in again] == [(1, 3, 3), (2, 6, 1)]
    for key in ("loss", "learning_rate"):
        assert again[0][key] == whole[0][key]
    assert again[1]["learning_rate"] == whole[1]["learning_rate"]


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_rolling_checkpoint_falls_back(
    tiny, trained, tmp_path, monkeypatch, capsys, damaged
):
    """To the one before it, or to the beginning of the round; and ends in the same bytes."""
    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "save_state", interrupt_after(pretrain.save_state, 3))
        with pytest.raises(KeyboardInterrupt):
            train(tiny, tmp_path / "s.pt", compute=always)
    checkpoints = sorted((tmp_path / "work").iterdir())
    # The third was written, but there was no time to remove the first.
    assert [p.name.split("-")[-1] for p in checkpoints] == [f"00000000{n}.pt" for n in (1, 2, 3)]
    checkpoints[0].unlink()
    for path in checkpoints[3 - damaged :]:
        path.write_bytes(path.read_bytes()[:1000])
    capsys.readouterr()
    assert train(tiny, tmp_path / "s.pt") == trained.read_bytes()
    said = capsys.readouterr().err
    assert said.count("going back to the one before") == damaged
    assert ("continuing from step 2" in said) == (damaged == 1)
    assert not list((tmp_path / "work").iterdir())


def interrupt_after(save, times):
    calls = []

    def wrapped(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == times:
            raise KeyboardInterrupt

    return wrapped


def test_a_rolling_checkpoint_of_other_settings_is_left_alone(tiny, trained, tmp_path, monkeypatch):
    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    other = tiny.config(pretrain=tiny.config().pretrain.model_dump() | {"base_learning_rate": 0.1})
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "save_state", interrupt_after(pretrain.save_state, 2))
        with pytest.raises(KeyboardInterrupt):
            train(tiny, tmp_path / "s.pt", config=other, compute=always)
    assert train(tiny, tmp_path / "s.pt") == trained.read_bytes()


def test_bfloat16_trains_float32_weights(tiny, trained, tmp_path):
    """They come out near those that float32 gives."""
    train(tiny, tmp_path / "s.pt", config=in_precision(tiny, "bfloat16"))
    start, expected = load_state(tiny.state), load_state(trained)
    state = load_state(tmp_path / "s.pt")
    assert state.scaler == {}
    for name, v in state.momentum_buffers.items():
        assert v.dtype == torch.float32
        if v.ndim == 4:
            moved = expected.online[name] - start.online[name]
            assert (state.online[name] - expected.online[name]).norm() < 0.5 * moved.norm()


def in_precision(tiny, precision):
    return with_pretrain(tiny, precision=precision)


def with_pretrain(tiny, **settings):
    return tiny.config(pretrain=tiny.config().pretrain.model_dump() | settings)


def test_a_round_that_continues_keeps_its_precision(tiny, tmp_path, monkeypatch, capsys):
    """Begun where there is bfloat16, it goes on in bfloat16 where `auto` would choose float32."""
    config = in_precision(tiny, "auto")
    monkeypatch.setattr(hardware, "native_precisions", lambda device: ("bfloat16",))
    whole = train(tiny, tmp_path / "whole" / "s.pt", config=config)
    interrupt(tiny, tmp_path / "s.pt", monkeypatch, config)
    monkeypatch.setattr(hardware, "native_precisions", lambda device: ())
    capsys.readouterr()
    assert train(tiny, tmp_path / "s.pt", config=config) == whole
    said = capsys.readouterr().err
    assert "pretrain.precision: bfloat16 is emulated" in said
    assert "computing in bfloat16 (pretrain.precision: auto, as it began)" in said
    made = load_state(tmp_path / "s.pt").provenance
    assert made["hardware"]["precision"] == "bfloat16"
    assert made["config"]["pretrain"]["precision"] == "auto"
    train(tiny, tmp_path / "other.pt", config=config)
    assert load_state(tmp_path / "other.pt").provenance["hardware"]["precision"] == "float32"


def test_a_batch_that_does_not_fit_keeps_the_checkpoint(tiny, tmp_path, monkeypatch, refused):
    backward = Trainer._backward

    def fail_at_four(self, batch):
        if self.step == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore")
        return backward(self, batch)

    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_backward", fail_at_four)
        with refused(
            "pretrain.batch_size: 4 of 4 images in this process, in float32",
            "GPU memory is full (CUDA out of memory. Tried to allocate 2 GiB.)",
            "lower pretrain.batch_size or views.crop",
        ):
            train(tiny, tmp_path / "s.pt", compute=always)
    names = sorted(p.name.split("-")[-1] for p in (tmp_path / "work").iterdir())
    assert names == ["000000003.pt", "000000004.pt"]


@pytest.mark.parametrize(
    ("chosen", "device", "steps", "expected"),
    [
        ("auto", "cuda", 5000, True),
        ("auto", "cuda", 4999, False),
        ("auto", "cpu", 10**6, False),
        (True, "cpu", 1, True),
        (False, "cuda", 10**6, False),
    ],
)
def test_long_rounds_on_gpus_are_compiled(chosen, device, steps, expected, monkeypatch):
    monkeypatch.setattr(pretrain, "_missing_for_compiling", lambda device: None)
    compute = COMPUTE.model_copy(update={"compile": chosen})
    assert pretrain._is_compiled(compute, torch.device(device), steps) == expected


def test_compiling_needs_a_compiler(monkeypatch, refused):
    monkeypatch.setattr(pretrain.shutil, "which", lambda name: None)
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    asked = COMPUTE.model_copy(update={"compile": True})
    with refused("compute.compile: needs a C++ compiler, missing here", "false"):
        pretrain._is_compiled(asked, cpu, 1)
    left = COMPUTE.model_copy(update={"compile": "auto"})
    assert not pretrain._is_compiled(left, cuda, 10**6)
    monkeypatch.setattr(pretrain.importlib.util, "find_spec", lambda name: None)
    with refused("compute.compile: needs Triton"):
        pretrain._is_compiled(asked, cuda, 1)


@pytest.mark.slow
def test_float16_scales_the_loss_and_continues_with_the_same_scale(tiny, tmp_path, monkeypatch):
    """Steps whose scaled gradients overflow are left out, at half the scale each time."""
    # CPUs convolve float16 slowly: a network of few channels.
    config = tiny.config(
        model=SETTINGS["model"] | {"architecture": "timm/test_resnet"},
        bootstrap=SETTINGS["bootstrap"] | {"block": "layer2"},
        pretrain=SETTINGS["pretrain"] | {"precision": "float16", "base_learning_rate": 30.0},
    )
    seed = tmp_path / "seed.pt"
    seed_state.run(config, seed)
    whole = train(tiny, tmp_path / "whole.pt", config=config, state=seed)
    start, state = load_state(seed), load_state(tmp_path / "whole.pt")
    assert 0 < state.scaler["scale"] <= 2**16
    for name, v in state.momentum_buffers.items():
        assert v.dtype == torch.float32
        assert torch.isfinite(v).all()
        assert not torch.equal(state.online[name], start.online[name])
    interrupt(tiny, tmp_path / "s.pt", monkeypatch, config, seed)
    assert train(tiny, tmp_path / "s.pt", config=config, state=seed) == whole


@pytest.mark.slow
def test_compiling_changes_rounding_alone(tiny, trained, tmp_path):
    compute = COMPUTE.model_copy(update={"compile": True})
    train(tiny, tmp_path / "s.pt", compute=compute)
    start, expected = load_state(tiny.state), load_state(trained)
    found = load_state(tmp_path / "s.pt")
    assert found.online.keys() == expected.online.keys()
    for name, weight in expected.online.items():
        if weight.ndim == 4:
            moved = weight - start.online[name]
            assert (found.online[name] - weight).norm() < 0.1 * moved.norm()


@pytest.mark.parametrize("vmf", [{}, VMF | {"every": 1}])
def test_a_loss_that_is_not_finite_stops_the_step(tiny, tmp_path, vmf):
    schedule = {"kind": "step", "warmup_epochs": 0}
    config = with_pretrain(tiny, base_learning_rate=1e30, schedule=schedule, vmf=vmf)
    with pytest.raises(InputError, match=r"loss is \w+ at step \d, learning rate .*, images \d+, "):
        train(tiny, tmp_path / "s.pt", config=config)
    assert not (tmp_path / "s.pt").exists()


def test_a_full_disk_keeps_the_last_checkpoint(tiny, trained, tmp_path, monkeypatch, refused):
    """The third checkpoint does not fit: one line, and the round continues from the second."""
    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    save = pretrain.save_state
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(path, state):
        if state.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        save(path, state)

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    monkeypatch.setattr(pretrain, "save_state", fill)
    try:
        with refused("000000003.pt cannot be written", "make room"):
            train(tiny, tmp_path / "s.pt", compute=always)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    monkeypatch.setattr(pretrain, "save_state", save)
    names = sorted(p.name.split("-")[-1] for p in (tmp_path / "work").iterdir())
    assert names == ["000000001.pt", "000000002.pt"]
    assert train(tiny, tmp_path / "s.pt") == trained.read_bytes()


def test_a_state_of_another_architecture(tiny, tmp_path):
    config = tiny.config(model={"architecture": "resnet34", "hidden": 16, "projection": 8})
    with pytest.raises(InputError, match=r"model\.architecture resnet18, the configuration resn"):
        train(tiny, tmp_path / "s.pt", config=config)
    assert not list(tmp_path.iterdir())


def test_a_state_of_another_round(tiny, trained, tmp_path):
    with pytest.raises(InputError, match=r"round-01\.pt is of round 1; round 1 begins from round"):
        train(tiny, tmp_path / "s.pt", state=trained)


def test_masks_of_another_round(tiny, trained, tmp_path):
    with pytest.raises(InputError, match="of round 0; round 2 trains on those of round 1"):
        train(tiny, tmp_path / "s.pt", number=2, state=trained)


def test_masks_of_another_run(tiny, trained, tmp_path):
    """Same images, same round, but made from another run's state."""
    other = tmp_path / "other.pt"
    train(tiny, other, config=tiny.config(seed=9))
    shard = tmp_path / "masks" / "shard.h5"
    bootstrap.run(
        tiny.config(),
        number=1,
        images=tiny.images,
        index_path=tiny.index,
        state_path=other,
        out=shard,
        shard=0,
        compute=COMPUTE,
    )
    with pytest.raises(InputError, match="belong to another run"):
        train(tiny, tmp_path / "s.pt", number=2, state=trained, masks=shard)
    assert not (tmp_path / "s.pt").exists()


def test_masks_of_another_index(tiny, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in [e.name for e in read_index(tiny.index).entries[:6]]:
        (images / name).write_bytes((tiny.images / name).read_bytes())
    index.run(images, tmp_path / "index.jsonl", threads=1)
    with pytest.raises(InputError, match="made for another index"):
        train(tiny, tmp_path / "s.pt", index_path=tmp_path / "index.jsonl")


def test_a_missing_shard_is_missed_before_training(tiny, tmp_path):
    config = tiny.config(shards=2)
    seed_masks.run(
        config,
        images=tiny.images,
        index_path=tiny.index,
        out=tmp_path / "masks" / "shard-1.h5",
        shard=1,
    )
    with pytest.raises(InputError, match=r"\d+ of 13 images have none, 0000\d\d\.jpg among them"):
        train(tiny, tmp_path / "s.pt", masks=tmp_path / "masks")


@pytest.mark.slow
def test_two_jobs_of_one_round_take_turns_and_make_it_once(tiny, trained, tmp_path):
    """As when Snakemake was killed, its job lives on, and Snakemake is started again."""
    out = tmp_path / "s.pt"
    first = subprocess.Popen(command(tiny, out), stderr=subprocess.PIPE, text=True)
    # It says so under its lock; the file alone may be there before it is locked.
    assert "computing in" in first.stderr.readline()
    first.send_signal(signal.SIGSTOP)
    second = subprocess.Popen(command(tiny, out), stderr=subprocess.PIPE, text=True)
    assert "waiting for it to end" in second.stderr.readline()
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert f"{out} is complete and was made from the same inputs with the same settings" in (
        second.stderr.read()
    )
    assert second.wait() == 0
    assert out.read_bytes() == trained.read_bytes()


def test_a_damaged_mask_is_named_before_the_first_step(tiny, tmp_path, monkeypatch, refused):
    shard = Path(shutil.copy(tiny.masks / "shard-0.h5", tmp_path / "shard-0.h5"))
    with h5py.File(shard) as file:
        where = file["masks/000000012"].id.get_chunk_info(0).byte_offset
    content = bytearray(shard.read_bytes())
    content[where] ^= 255
    shard.write_bytes(content)
    monkeypatch.setattr(Trainer, "train_step", None)
    with refused(f"mask shard {shard} is damaged at image 12", "delete it"):
        train(tiny, tmp_path / "s.pt", masks=shard)


def test_a_last_step_that_diverges_makes_no_state(tiny, tmp_path, monkeypatch, refused):
    step = Trainer.train_step

    def poisoned(self, *arguments):
        found = step(self, *arguments)
        if self.step == 6:
            with torch.no_grad():
                next(self.pair.online.parameters())[0] = torch.inf
        return found

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    with refused(
        "values that are not finite after the last step", "lower pretrain.base_learning_rate"
    ):
        train(tiny, tmp_path / "s.pt")
    assert not (tmp_path / "s.pt").exists()


@pytest.mark.slow
def test_a_shard_that_vanishes_while_training_is_named(tiny, tmp_path, monkeypatch, refused):
    """The last checkpoint stays, and with the shard back the round ends as if undisturbed."""
    config = tiny.config(shards=5)
    shards = [tmp_path / "masks" / f"shard-{shard}.h5" for shard in range(5)]
    for shard, out in enumerate(shards):
        seed_masks.run(config, images=tiny.images, index_path=tiny.index, out=out, shard=shard)
    whole = train(tiny, tmp_path / "whole" / "s.pt", masks=tmp_path / "masks")
    step = Trainer.train_step

    def take_away(self, *arguments):
        if self.step == 0:
            for path in shards:
                path.rename(path.with_suffix(".away"))
        return step(self, *arguments)

    always = COMPUTE.model_copy(update={"checkpoint_minutes": 0.0})
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", take_away)
        with refused("mask shard", "does not exist"):
            train(tiny, tmp_path / "s.pt", masks=tmp_path / "masks", compute=always)
    for path in shards:
        path.with_suffix(".away").rename(path)
    assert len(list((tmp_path / "work").iterdir())) == 1
    assert train(tiny, tmp_path / "s.pt", masks=tmp_path / "masks") == whole


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(tiny, tmp_path, refused):
    compute = COMPUTE.model_copy(update={"device": "cuda"})
    with refused("compute.device: PyTorch finds no GPU here", "auto or cpu"):
        train(tiny, tmp_path / "s.pt", compute=compute)


def test_more_processes_than_gpus(tiny, tmp_path, refused, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with refused("compute.processes: 4 processes", "has 2 GPUs", "set it to 2 at most"):
        train(tiny, tmp_path / "s.pt", compute=COMPUTE.model_copy(update={"device": "auto"}))


def test_fewer_images_than_a_batch(tiny, tmp_path):
    config = tiny.config(pretrain={"batch_size": 14})
    with pytest.raises(InputError, match="14 images a step, but the index has 13"):
        train(tiny, tmp_path / "s.pt", config=config)


def test_a_file_that_changed_after_indexing_is_named(tiny, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in tiny.images.iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "000005.jpg").write_bytes(b"shorter")
    with pytest.raises(InputError, match=r"image 000005\.jpg: .*7 bytes"):
        pretrain.run(
            tiny.config(),
            number=1,
            images=images,
            index_path=tiny.index,
            state_path=tiny.state,
            masks_where=str(tiny.masks),
            out=tmp_path / "s.pt",
            work=tmp_path / "work",
            compute=COMPUTE,
        )
    assert not (tmp_path / "s.pt").exists()

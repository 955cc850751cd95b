"""What computes a job: devices that cannot be used, and the precision that suits those that can."""

import os
import subprocess
import sys
import warnings

import pytest
import torch

from cyborgs.common.errors import InputError
from cyborgs.runtime import hardware
from cyborgs.runtime.hardware import MASKS, TRAINING, choose_device, choose_precision, instructions

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def cpu(monkeypatch):
    """A CPU with some flags, as far as PyTorch uses them."""

    def have(level, *flags):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
        monkeypatch.setattr(hardware, "_flags", lambda: frozenset(flags))
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)

    return have


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is made up."""

    def have(name, capability, built=("sm_75", "sm_80", "sm_90", "sm_120", "compute_120")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(built))
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(hardware, "_gpus", lambda: True)

    return have


class TestPrecision:
    @pytest.mark.parametrize(
        ("level", "flags", "name", "expected"),
        [
            ("AVX512", ["avx512_bf16"], "AVX512, AVX512-BF16", "bfloat16"),
            ("AVX512", ["amx_bf16"], "AVX512, AMX-BF16", "bfloat16"),
            ("AVX512", ["avx512f"], "AVX512", "float32"),
            ("AVX512", ["avx512_fp16"], "AVX512, AVX512-FP16", "float32"),
            # Flags that PyTorch does not use.
            ("AVX2", ["avx512_bf16"], "AVX2", "float32"),
        ],
    )
    def test_of_cpus_those_with_instructions_take_bfloat16(
        self, cpu, capsys, level, flags, name, expected
    ):
        cpu(level, *flags)
        assert choose_precision("auto", "x.precision", CPU, among=TRAINING) == expected
        said = capsys.readouterr().err
        assert said == f"computing in {expected} (x.precision: auto) on CPU with {name}\n"

    @pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
    def test_what_onednn_must_not_use_is_not_there(self, cpu, monkeypatch, variable):
        cpu("AVX512", "avx512_bf16")
        monkeypatch.setenv(variable, "avx512_core_vnni")
        assert instructions() == ["AVX512"]
        monkeypatch.setenv(variable, "AVX512_CORE_BF16")
        assert instructions() == ["AVX512", "AVX512-BF16"]

    @pytest.mark.parametrize(
        ("capability", "among", "expected"),
        [
            ((9, 0), TRAINING, "bfloat16"),
            ((8, 0), TRAINING, "bfloat16"),
            ((7, 5), TRAINING, "float16"),
            ((7, 5), MASKS, "float32"),
        ],
    )
    def test_of_gpus_older_ones_train_in_float16(self, gpu, capability, among, expected):
        gpu("A GPU", capability)
        assert choose_precision("auto", "x.precision", CUDA, among=among) == expected

    def test_of_amds_gpus_none_has_tf32(self, gpu, monkeypatch, refused):
        gpu("AMD Instinct MI300X", (9, 4))
        monkeypatch.setattr(torch.version, "hip", "6.4")
        assert choose_precision("auto", "x.precision", CUDA, among=TRAINING) == "bfloat16"
        with refused("x.precision: AMD Instinct MI300X has no tf32"):
            choose_precision("tf32", "x.precision", CUDA, among=TRAINING)

    def test_what_continues_keeps_its_precision(self, cpu, capsys):
        cpu("AVX2")
        assert (
            choose_precision("auto", "x.precision", CPU, among=TRAINING, kept="bfloat16")
            == "bfloat16"
        )
        said = capsys.readouterr().err
        assert "bfloat16 is emulated on this CPU with AVX2: expect 10 to 40 times as long" in said
        assert "(x.precision: auto, as it began)" in said

    def test_a_precision_that_is_asked_for_is_taken(self, cpu, capsys):
        cpu("AVX512", "avx512_bf16")
        assert choose_precision("float32", "x", CPU, among=TRAINING, kept="bfloat16") == "float32"
        assert "emulated" not in capsys.readouterr().err
        assert choose_precision("float16", "x", CPU, among=TRAINING) == "float16"
        assert "x: float16 is emulated" in capsys.readouterr().err

    def test_a_precision_that_is_lacking_is_refused(self, cpu, gpu, refused):
        cpu("AVX2")
        gpu("Tesla T4", (7, 5))
        with refused("pretrain.precision: Tesla T4 has no bfloat16", "auto"):
            choose_precision("bfloat16", "pretrain.precision", CUDA, among=TRAINING)
        with refused("pretrain.precision: CPU with AVX2 has no tf32", "auto"):
            choose_precision("tf32", "pretrain.precision", CPU, among=TRAINING)
        with refused(
            "this training began in bfloat16, but Tesla T4 has no bfloat16", "where it began"
        ):
            choose_precision("auto", "pretrain.precision", CUDA, among=TRAINING, kept="bfloat16")

    def test_tf32_is_taken_where_it_is_asked_for_alone(self):
        for precision in ("tf32", "bfloat16", "float32"):
            hardware.set_float32(precision)
            assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
            assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")


class TestDevice:
    def test_a_gpu_is_taken_where_there_is_one(self, gpu, monkeypatch):
        gpu("A GPU", (9, 0))
        monkeypatch.setattr(torch, "zeros", lambda *_, device: None)
        assert choose_device("auto") == CUDA
        assert choose_device("cpu") == CPU

    def test_cuda_without_a_gpu_is_refused(self, monkeypatch, refused):
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert choose_device("auto") == CPU
        with refused("compute.device: PyTorch finds no GPU here", "auto or cpu"):
            choose_device("cuda")

    def test_pytorch_without_cuda_is_named(self, monkeypatch, refused):
        monkeypatch.setattr(torch.version, "cuda", None)
        monkeypatch.setattr(torch.version, "hip", None)
        with refused("compute.device: this PyTorch is built for CPUs alone"):
            choose_device("cuda")

    def test_a_driver_that_is_too_old_is_named(self, gpu, monkeypatch, refused, capsys):
        gpu("A GPU", (9, 0))

        def unavailable():
            warnings.warn("The NVIDIA driver on your system is too old\nUpdate", stacklevel=1)
            return False

        monkeypatch.setattr(torch.cuda, "is_available", unavailable)
        with refused("PyTorch finds no GPU here (The NVIDIA driver", "too old"):
            choose_device("cuda")
        assert choose_device("auto") == CPU
        assert "driver on your system is too old); computing on the CPU" in capsys.readouterr().err

    def test_a_gpu_that_is_too_old_is_named(self, gpu, refused, capsys):
        gpu("Tesla P100", (6, 0))
        with refused("GPU 0 (Tesla P100) has compute capability 6.0", "needs 7.5 or later"):
            choose_device("cuda")
        assert choose_device("auto") == CPU
        assert "Tesla P100" in capsys.readouterr().err

    def test_a_gpu_that_is_full_is_named(self, gpu, monkeypatch, refused):
        gpu("A GPU", (9, 0))

        def full(*_, device):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.\nMore")

        monkeypatch.setattr(torch, "zeros", full)
        for name in ("cuda", "auto"):
            with refused("GPU 0 (A GPU) cannot be used (CUDA out of memory", "nvidia-smi"):
                choose_device(name)

    def test_more_processes_than_gpus_are_refused(self, gpu, monkeypatch, refused):
        gpu("A GPU", (9, 0))
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        with refused("compute.processes: 2 processes on this node, which has 1 GPUs"):
            choose_device("auto")


def test_memory_that_runs_out_is_one_line():
    with (
        pytest.raises(InputError, match=r"^x: GPU memory is full \(CUDA out of memory\); lower y$"),
        hardware.memory_named("x", "lower y"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"ATEN_CPU_CAPABILITY": "avx2"}, "AVX2"), ({"ATEN_CPU_CAPABILITY": "default"}, "x86_64")],
)
def test_switches_of_pytorch_are_obeyed(variables, expected):
    program = "from cyborgs.runtime.hardware import instructions; print(*instructions())"
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("not a CPU with AVX2")
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | variables
    )
    assert shown.stdout.split() == [expected]

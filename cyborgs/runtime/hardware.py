"""What computes a job: its device, and the precision that suits it.

Decided where the job runs, by what the hardware says of itself, never by a timing: a login node is
not the node that computes.
"""

import os
import platform
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say

# From this compute capability on, an NVIDIA GPU has instructions for bfloat16 and TF32.
AMPERE = (8, 0)

# How much longer half precision takes on a CPU without instructions for it: masks on AVX2 took 42
# times as long (tests/bench/bootstrap.py), training steps less.
EMULATED = "10 to 40 times as long as float32"

# Values of oneDNN's variable ONEDNN_MAX_CPU_ISA that leave bfloat16 to emulation.
_BELOW_BFLOAT16 = {
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
}  # fmt: skip


def choose_device(name: str) -> torch.device:
    """The device of this process: ``cpu``, ``cuda``, or ``auto`` (a GPU where there is one).

    Float32 is exact on it until `set_float32` says otherwise.  Where ``auto`` leaves a GPU alone
    that is there, because PyTorch cannot use it, that is said.

    Raises:
        InputError: ``cuda`` without a GPU that PyTorch can use; none for this one of several
            processes; or one whose memory is taken.
    """
    set_float32("float32")
    if name == "cpu":
        return torch.device("cpu")
    number, trouble = int(os.environ.get("LOCAL_RANK", "0")), _trouble()
    if trouble is None and number >= torch.cuda.device_count():
        raise InputError(
            f"compute.processes: {os.environ['LOCAL_WORLD_SIZE']} processes on this node, which "
            f"has {torch.cuda.device_count()} GPUs; set it to {torch.cuda.device_count()} at most"
        )
    trouble = trouble or _too_old(number)
    if trouble is not None:
        if name == "cuda" or (int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1 and _gpus()):
            raise InputError(f"compute.device: {trouble}; set it to auto or cpu to compute on CPUs")
        if number == 0 and _gpus():
            say(f"compute.device: {trouble}; computing on the CPU")
        return torch.device("cpu")
    device = torch.device("cuda", number)
    try:
        torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except RuntimeError as error:
        if "kernel image" in str(error):
            raise InputError(
                f"compute.device: this PyTorch has no code for GPU {number} "
                f"({torch.cuda.get_device_name(device)}); install a newer one, or set it to cpu"
            ) from None
        raise InputError(
            f"compute.device: GPU {number} ({torch.cuda.get_device_name(device)}) cannot be used "
            f"({first_line(error)}); `nvidia-smi` shows what else runs on it: wait for that, or "
            "choose another GPU by CUDA_VISIBLE_DEVICES"
        ) from None
    return device


def _trouble() -> str | None:
    """Why PyTorch can use no GPU here; None where it can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "this PyTorch is built for CPUs alone (install one that is built for CUDA)"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    # What PyTorch warns of, such as a driver that is too old for it.
    reasons = [first_line(w.message) for w in said]
    return f"PyTorch finds no GPU here{f' ({reasons[0]})' if reasons else ''}"


def _too_old(number: int) -> str | None:
    """Why PyTorch cannot compute on a GPU that it finds; None where it can."""
    if torch.version.hip is not None:
        return None
    # "sm_90" and "compute_90"; a suffix names a family's own instructions.
    built = [name.partition("_")[2].rstrip("af") for name in torch.cuda.get_arch_list()]
    oldest = min((int(digits) for digits in built), default=0)
    major, minor = torch.cuda.get_device_capability(number)
    if 10 * major + minor >= oldest:
        return None
    return (
        f"GPU {number} ({torch.cuda.get_device_name(number)}) has compute capability "
        f"{major}.{minor}, this PyTorch needs {oldest // 10}.{oldest % 10} or later"
    )


def _gpus() -> bool:
    """Whether NVIDIA's driver lists any GPU."""
    try:
        shown = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return shown.stdout.startswith("GPU")


def first_line(error: object) -> str:
    """The beginning of a message that may be long, on one line."""
    return " ".join(str(error).split("\n")[0].split())[:160]


@lru_cache
def _flags() -> frozenset[str]:
    """Instruction sets of this machine's CPU, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(found.partition(":")[2].split())


def instructions() -> list[str]:
    """The instruction sets that PyTorch uses on this CPU, the widest of those that matter here.

    Environment variables that keep PyTorch (``ATEN_CPU_CAPABILITY``) or its oneDNN
    (``ONEDNN_MAX_CPU_ISA``) from using some of them are obeyed.
    """
    flags, level = _flags(), torch.backends.cpu.get_cpu_capability()
    if not level.startswith("AVX512"):
        return [level if level != "DEFAULT" else platform.machine()]
    names = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16", "avx512_fp16": "AVX512-FP16"}
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "ALL"))
    if limit.upper() in _BELOW_BFLOAT16:
        names = {}
    return ["AVX512", *(name for flag, name in names.items() if flag in flags)]


def describe(device: torch.device) -> str:
    """A device's name: the GPU's, or what instructions the CPU has."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU with {', '.join(instructions())}"


def native_precisions(device: torch.device) -> tuple[str, ...]:
    """The precisions below float32 that a device has instructions for, the preferred one first."""
    if device.type == "cpu":
        found = instructions()
        bfloat16 = "AVX512-BF16" in found or "AMX-BF16" in found
        return ("bfloat16",) * bfloat16 + ("float16",) * ("AVX512-FP16" in found)
    if torch.version.hip is not None:
        return "bfloat16", "float16"
    if torch.cuda.get_device_capability(device) >= AMPERE:
        return "bfloat16", "float16", "tf32"
    return ("float16",)


# What `auto` may choose for training (float16 with loss scaling), and for masks.
TRAINING = ("bfloat16", "float16")
MASKS = ("bfloat16",)


def best_precision(device: torch.device, among: tuple[str, ...]) -> str:
    """What ``auto`` comes to on a device: one of ``among``, or float32."""
    best = next((p for p in native_precisions(device) if p in among), "float32")
    # A GPU's own float16 is wanted where bfloat16 is missing; on CPUs it gains nothing.
    return "float32" if device.type == "cpu" and best == "float16" else best


def choose_precision(
    asked: str, key: str, device: torch.device, *, among: tuple[str, ...], kept: str | None = None
) -> str:
    """The precision of a job: ``asked``, or what suits its device where that is ``auto``.

    Says what was chosen, and warns of a precision that this CPU only emulates.

    Args:
        asked: "auto", "float32", "tf32", "bfloat16" or "float16".
        key: of the configuration that says so.
        device: of the computation.
        among: `TRAINING` or `MASKS`.
        kept: the precision in which an interrupted job began, if this one continues it.

    Returns:
        "float32", "tf32", "bfloat16" or "float16".

    Raises:
        InputError: a precision that the device does not have and does not emulate.
    """
    native, name = native_precisions(device), describe(device)
    chosen = (kept or best_precision(device, among)) if asked == "auto" else asked
    if chosen != "float32" and chosen not in native:
        if chosen == "tf32" or device.type == "cuda":
            lacking = f"{name} has no {chosen}"
            if asked == "auto":
                raise InputError(
                    f"{key}: this training began in {chosen}, but {lacking}; continue it on the "
                    "machine where it began, or delete its rolling checkpoint to begin again"
                )
            raise InputError(f"{key}: {lacking}; set it to auto")
        say(f"{key}: {chosen} is emulated on this {name}: expect {EMULATED}; `auto` avoids it")
    why = f"{key}: {asked}" + (", as it began" if asked == "auto" and kept else "")
    say(f"computing in {chosen} ({why}) on {name}")
    return chosen


def set_float32(precision: str) -> None:
    """Compute float32 products of NVIDIA GPUs as TF32 where that is the precision, else exactly.

    PyTorch by itself takes TF32 for convolutions, and float32 for matrix products; and sums in
    bfloat16 where it splits a bfloat16 product.
    """
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network computes in a precision; its weights stay float32."""
    half = precision in ("bfloat16", "float16")
    return torch.autocast(device.type, getattr(torch, precision) if half else None, enabled=half)


def provenance_of(device: torch.device, precision: str) -> dict[str, str]:
    """What of the hardware can change a result's rounding, for its provenance."""
    return {"device": describe(device), "precision": precision}


@contextmanager
def memory_named(what: str, remedy: str) -> Iterator[None]:
    """Turn running out of memory on a GPU into an `InputError` with a line on what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(f"{what}: GPU memory is full ({first_line(error)}); {remedy}") from None

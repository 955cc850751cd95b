"""Stage `hardware`: what would compute here, for people."""

import importlib.metadata
import os

import torch

from cyborgs.common.tables import aligned
from cyborgs.runtime.hardware import MASKS, TRAINING, best_precision, choose_device, describe
from cyborgs.runtime.memory import available_memory


def run(device: str) -> str:
    """Device, precision, memory and libraries of this machine, as lines.

    Args:
        device: "auto", "cuda" or "cpu".

    Raises:
        InputError: a GPU is asked for that cannot be used.
    """
    chosen = choose_device(device)
    free = torch.cuda.mem_get_info(chosen)[0] if chosen.type == "cuda" else available_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    training, masks = best_precision(chosen, TRAINING), best_precision(chosen, MASKS)
    return aligned(
        [
            ["device", describe(chosen)],
            ["CPU cores", str(cores)],
            ["memory", "unknown" if free is None else f"{free / 1e9:.1f} GB free"],
            ["precision", f"{training} in training, {masks} for masks (where it is auto)"],
            ["PyTorch", torch.__version__],
            ["FAISS", _faiss()],
        ]
    )


def _faiss() -> str:
    for name in ("faiss-gpu", "faiss-cpu"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed (only bootstrap.exact needs it)"

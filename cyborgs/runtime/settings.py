"""The section `compute`: where and how fast."""

from typing import Literal

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.common.section import NonNegative, Section


class Compute(Section):
    """Where and how fast to compute; changes here rerun nothing."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one"
    )
    processes: int = Field(
        1,
        ge=1,
        description="training processes per node, one per GPU (on CPUs, several change the result)",
    )
    nodes: int = Field(1, ge=1, description="nodes that train together in a SLURM job")
    threads: int = Field(
        2, ge=1, description="compute threads of a job; fixed, whatever --cores says"
    )
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="compile the backbones for training (`torch.compile`), which takes about a "
        "minute at the start of each job; auto: if one process trains on a GPU, in rounds of "
        "5,000 steps or more",
    )
    workers: int = Field(2, ge=0, description="loader processes of a training process")
    checkpoint_minutes: NonNegative = Field(
        5.0, description="minutes between rolling checkpoints; a killed round loses at most this"
    )
    leave_minutes: NonNegative = Field(
        2.0,
        description="training saves and exits this many minutes before the time limit of a SLURM "
        "job (but not before half of the time has passed)",
    )
    trackers: list[Literal["mlflow", "wandb"]] = Field(
        [], description="where metrics are sent during the run: MLflow, Weights & Biases"
    )

    @property
    def gpu(self) -> int:
        """GPUs of a process, for executors that hand them out."""
        return 1 if self.device == "cuda" else 0

    @property
    def places(self) -> dict[str, int | str]:
        """What a training asks a cluster for, as resources of Snakemake.

        All its GPUs on one node, or as many on each of several, on which the command starts itself
        by srun.
        """
        if self.nodes == 1:
            return {"nodes": 1, "gpu": self.gpu * self.processes}
        places: dict[str, int | str] = {"nodes": self.nodes, "tasks": self.nodes, "mpi": "srun"}
        if self.gpu:
            places |= {"gres": f"gpu:{self.processes}", "tasks_per_gpu": 0}
        return places


def check_batch(section: str, batch_size: int, compute: Compute) -> None:
    """Raise `InputError` where the processes cannot share the images of a step equally."""
    if batch_size % (compute.processes * compute.nodes):
        nodes = "" if compute.nodes == 1 else f" on {compute.nodes} nodes (compute.nodes)"
        raise InputError(
            f"{section}.batch_size: {batch_size} is not a multiple of compute.processes "
            f"{compute.processes}{nodes}"
        )

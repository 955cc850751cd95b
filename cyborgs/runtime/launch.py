"""Several training processes, on this node or on several, under PyTorch's elastic agent."""

import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import FrameType

from cyborgs.common.errors import LOST_PEER, RESUME_LATER, InputError
from cyborgs.common.progress import say

# Seconds that processes have to save and leave before they are killed.
PATIENCE = 30

# Where the agents of a job's nodes meet, set for them by the process that starts them.
_MEETING = "CYBORGS_MEETING"


def process_number() -> str | None:
    """This process's among those of its job; None where it was started by itself."""
    return os.environ.get("RANK")


def launch(nodes: int, processes: int, threads: int, arguments: Sequence[str]) -> int:
    """Run ``cyborgs ARGUMENTS`` in processes that find one another.

    When one fails, or this process is asked to leave, all of them are asked to leave, and
    killed after 30 s.

    Args:
        nodes: of the SLURM job that this is part of; 1 is this machine, with or without SLURM.
        processes: on each node.
        threads: of each process.
        arguments: of the command line, the same for all.

    Returns:
        The exit status: that of the process that failed, 75 where they were asked to leave.

    Raises:
        InputError: several nodes outside of a SLURM job.
    """
    if nodes > 1 and _MEETING not in os.environ:
        return _launch_on_nodes(nodes, processes * threads, arguments)
    return _launch_here(nodes, processes, arguments)


def _launch_on_nodes(nodes: int, cores: int, arguments: Sequence[str]) -> int:
    """Start an agent on each node of this SLURM job, by `srun`."""
    # Heavy; the command line imports this module, and is quick.
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        raise InputError(
            f"compute.nodes: {nodes} nodes need a SLURM job of as many; use the profile "
            "workflow/profiles/slurm, or call this within `salloc` or `sbatch`"
        )
    # The nodes rendezvous here: every node can reach the machine that runs `srun`.
    store = TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False)
    command = [
        "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
        f"--cpus-per-task={cores}", "--cpu-bind=q", "--overlap", "--kill-on-bad-exit=1",
        sys.executable, "-m", "cyborgs", *arguments,
    ]  # fmt: skip
    say(f"launch: {shlex.join(command)}")
    with subprocess.Popen(command, env=os.environ | {_MEETING: str(store.port)}) as srun:

        def pass_on(number: int, _: FrameType | None) -> None:
            srun.send_signal(number)

        # The terminal sends Ctrl-C to `srun` too; `srun` forwards every signal to its tasks.
        for number in set(_asked_by()) - {signal.SIGINT}:
            signal.signal(number, pass_on)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = srun.wait()
    # Ended by a signal, as by SLURM: the checkpoint is the last one that was saved.
    return status if status >= 0 else RESUME_LATER


def _launch_here(nodes: int, processes: int, arguments: Sequence[str]) -> int:
    """Start this node's processes and watch over them."""
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # This process only waits; its child processes report what happened.
    logging.disable()
    # The agent would set it to 1, and say so; each process sets its own number of threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # On one node, nothing depends on whether the machine's own name can be resolved.
    endpoint, address = "127.0.0.1:0", "127.0.0.1"
    if nodes == 1 and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if nodes > 1:
        host, port = os.environ["SLURM_SRUN_COMM_HOST"], os.environ[_MEETING]
        endpoint, address = f"{host}:{port}", _address_towards(host)
    try:
        # The agent does not remove its log files.
        with tempfile.TemporaryDirectory() as folder:
            config = LaunchConfig(
                min_nodes=nodes,
                max_nodes=nodes,
                nproc_per_node=processes,
                logs_specs=DefaultLogsSpecs(log_dir=folder),
                run_id=os.environ.get(_MEETING, "here"),
                rdzv_backend="c10d",
                rdzv_endpoint=endpoint,
                rdzv_configs={"is_host": nodes == 1},
                local_addr=address,
                max_restarts=0,
                signals_to_handle=",".join(number.name for number in _asked_by()),
                shutdown_timeout=PATIENCE,
            )
            elastic_launch(config, sys.executable)("-m", "cyborgs", *arguments)
    except ChildFailedError as error:
        statuses = [failure.exitcode for failure in error.failures.values()]
        # A process that ended only because another one did is not the cause.
        return next((s for s in statuses if s != LOST_PEER), LOST_PEER)
    except SignalException:
        return RESUME_LATER
    return 0


def _asked_by() -> list[signal.Signals]:
    """Signals that ask to leave; SIGHUP is none under `nohup`."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *([] if ignored else [signal.SIGHUP])]


def _address_towards(host: str) -> str:
    """This machine's address in the network in which it reaches another one.

    A node's own name need not be known to the others.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # Sends nothing; any port will do.
        sender.connect((host, 9))
        return str(sender.getsockname()[0])

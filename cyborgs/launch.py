"""Several training processes on this node, under PyTorch's elastic agent as torchrun has it."""

import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence

from cyborgs.errors import LOST_PEER, RESUME_LATER

# Seconds that processes have to save and leave before they are killed.
PATIENCE = 30


def process_number() -> str | None:
    """This process's among those of its job; None where it was started by itself."""
    return os.environ.get("RANK")


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run ``cyborgs ARGUMENTS`` in ``processes`` processes that find one another.

    When one fails, or this process is asked to leave, all of them are asked to leave, and
    killed after 30 s.

    Returns:
        The exit status: that of the process that failed, 75 where they were asked to leave.
    """
    # Here, since the command line imports this module, and is quick.
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # This process only waits; what happened is said by those that it started.
    logging.disable()
    # The agent would set it to 1, and say so; each process sets its own number of threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        # The agent's own files; left to itself it leaves them behind.
        with tempfile.TemporaryDirectory() as folder:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=processes,
                logs_specs=DefaultLogsSpecs(log_dir=folder),
                run_id=str(uuid.uuid4()),
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                max_restarts=0,
                signals_to_handle="SIGTERM,SIGINT,SIGUSR1",
                shutdown_timeout=PATIENCE,
            )
            elastic_launch(config, sys.executable)("-m", "cyborgs", *arguments)
    except ChildFailedError as error:
        statuses = [failure.exitcode for failure in error.failures.values()]
        # Those that only lost another one are not what went wrong.
        return next((s for s in statuses if s != LOST_PEER), LOST_PEER)
    except SignalException:
        return RESUME_LATER
    return 0

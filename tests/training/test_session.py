"""One job makes a file, and all processes of another wait for it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cyborgs.common.files import exclusive

# A lost process is given up after 4 s instead of 10 minutes.
PROGRAM = """
import sys, datetime, torch
from pathlib import Path
from cyborgs.runtime import distributed
from cyborgs.training.session import sole_job

distributed.TIMEOUT = datetime.timedelta(seconds=4)
with sole_job(Path(sys.argv[1]), Path("x"), torch.device("cpu")):
    seen = distributed.gather_objects(distributed.rank())
    print(f"rank {distributed.rank()}: {seen}\\n", end="", flush=True)
"""


@pytest.mark.slow
def test_all_processes_wait_longer_than_for_one_that_is_lost(tmp_path: Path) -> None:
    lock, program = tmp_path / "x.lock", tmp_path / "program.py"
    program.write_text(PROGRAM)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with exclusive(lock, "x"):
        job = subprocess.Popen(
            [*launch, program, lock], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert job.stderr is not None
        while "another process makes x: waiting" not in job.stderr.readline():
            assert job.poll() is None
        time.sleep(9)
        assert job.poll() is None
    out, said = job.communicate()
    assert job.returncode == 0, said
    assert sorted(out.split("\n")) == ["", "rank 0: [0, 1]", "rank 1: [0, 1]"]
    assert not lock.exists()


# The first process saves for 3 s; any other must not be gone before.
SAVING = """
import sys, time, torch
from pathlib import Path
from types import SimpleNamespace
from cyborgs.runtime import distributed
from cyborgs.common.errors import ResumeLaterError
from cyborgs.training.loop import Outcome, train

saved = Path(sys.argv[1])
trainer = SimpleNamespace(step=0, steps_per_epoch=9, device=torch.device("cpu"))

def train_step(batch, leave):
    trainer.step += 1
    loss = torch.tensor(1.0)
    return Outcome.of(loss, leave, step=trainer.step - 1, rate=0.1, images="", remedy="")

def checkpoint():
    if distributed.rank() == 0:
        time.sleep(3)
        saved.write_text("whole")

trainer.train_step = train_step
with distributed.process_group(torch.device("cpu")):
    try:
        stop = SimpleNamespace(asked="SIGTERM")
        train(
            trainer, [0, 0], 2, checkpoint=checkpoint, every=60.0, log=print, stop=stop, label="x"
        )
    except ResumeLaterError:
        print(f"rank {distributed.rank()}: {saved.exists()}\\n", end="", flush=True)
"""


@pytest.mark.slow
def test_no_process_leaves_before_all_is_saved(tmp_path: Path) -> None:
    """Whoever started them would end the one that still saves."""
    program = tmp_path / "program.py"
    program.write_text(SAVING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*launch, program, tmp_path / "saved"], capture_output=True, text=True, check=True
    )
    assert sorted(ended.stdout.split("\n")) == ["", "rank 0: True", "rank 1: True"]

"""One job makes a file, and all processes of another wait for it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cyborgs.files import exclusive

# A lost process is given up after 4 s instead of 10 minutes.
PROGRAM = """
import sys, datetime, torch
from pathlib import Path
from cyborgs import distributed
from cyborgs.training.session import sole_job

distributed.TIMEOUT = datetime.timedelta(seconds=4)
with sole_job(Path(sys.argv[1]), Path("x"), torch.device("cpu")) as waited:
    seen = distributed.gather_objects(waited)
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
    assert sorted(out.split("\n")) == ["", "rank 0: [True, False]", "rank 1: [True, False]"]
    assert not lock.exists()

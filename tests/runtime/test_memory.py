"""How much memory there is."""

from pathlib import Path

import pytest

from cyborgs.runtime import memory

MEMINFO = "MemTotal: 100 kB\nMemAvailable: 64 kB\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A make-believe /proc and /sys: a function that writes a file of it."""

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / path.lstrip("/"))
    write("proc/meminfo", MEMINFO)
    return write


def test_without_limits_it_is_the_machines(system):
    system("proc/self/cgroup", "0::/\n")
    assert memory.available_memory() == 64 * 1024


def test_the_narrowest_control_group_counts_but_not_its_file_cache(system):
    system("proc/self/cgroup", "0::/slurm/job_7/step_0\n")
    system("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n")
    system("sys/fs/cgroup/slurm/job_7/step_0/memory.current", "10000\n")
    system("sys/fs/cgroup/slurm/job_7/memory.max", "20000\n")
    system("sys/fs/cgroup/slurm/job_7/memory.current", "15000\n")
    system("sys/fs/cgroup/slurm/job_7/memory.stat", "anon 9000\ninactive_file 6000\n")
    assert memory.available_memory() == 20000 - 15000 + 6000


def test_control_groups_of_the_first_version_count_too(system):
    system("proc/self/cgroup", "5:cpu:/x\n4:memory:/x\n")
    system("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "3000\n")
    system("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "4000\n")
    assert memory.available_memory() == 0


def test_a_system_that_tells_nothing_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path / path.lstrip("/"))
    assert memory.available_memory() is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="not Linux")
def test_this_machine_has_some():
    assert 0 < (memory.available_memory() or 0) < 1 << 50

"""Memory: how much is there, and what the C library does with what was freed."""

import ctypes
import platform
from collections.abc import Iterator
from pathlib import Path

# mallopt's numbers of M_TRIM_THRESHOLD and M_MMAP_MAX (malloc.h of the GNU C library).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Keep freed memory in this process instead of giving it back to the system at once.

    Work on tensors frees and asks for the same gigabytes again and again; the system clears
    every page that it hands out, a good part of the time on CPUs.  Tensors of ever other sizes
    leave gaps that add up: `give_back` from time to time.  Does nothing where the C library is
    not GNU's.
    """
    library = _gnu()
    if library is not None:
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, -1)


def _gnu() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def give_back() -> None:
    """Give memory that was kept back to the system, gaps between what is in use included."""
    library = _gnu()
    if library is not None:
        library.malloc_trim(0)


def available_memory() -> int | None:
    """Bytes that this process can still take: of the machine, and of its control groups.

    A cluster's scheduler limits a job by control groups, of either version.  None where the system
    tells nothing (it is not Linux).
    """
    machine = _values(Path("/proc/meminfo")).get("MemAvailable:")
    if machine is None:
        return None
    return max(0, min([1024 * machine, *_left_in_control_groups()]))


def _left_in_control_groups() -> Iterator[int]:
    root = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            top, limit, used, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, used = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        folder = top / name.lstrip("/")
        for each in (folder, *folder.parents):
            if not each.is_relative_to(top):
                break
            try:
                most, taken = (int((each / file).read_text()) for file in (limit, used))
            except (OSError, ValueError):  # no such file, or "max": no limit here
                continue
            yield most - taken + _values(each / "memory.stat").get(cache, 0)


def _values(path: Path) -> dict[str, int]:
    """The first number after each name of a file such as ``/proc/meminfo``."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, value, *_ in map(str.split, lines)}

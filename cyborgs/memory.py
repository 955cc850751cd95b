"""What the C library does with memory that was freed."""

import ctypes
import platform

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

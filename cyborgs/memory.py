"""What the C library does with memory that was freed."""

import ctypes
import platform

# mallopt's numbers of M_TRIM_THRESHOLD and M_MMAP_MAX (malloc.h of the GNU C library).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Keep freed memory in this process instead of giving it back to the system at once.

    A training step frees and asks for the same gigabytes again and again; the system clears
    every page that it hands out, a good part of a step on CPUs.  Not for work on tensors of
    ever other sizes, which would leave gaps that add up.  Does nothing where the C library is not
    GNU's.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)

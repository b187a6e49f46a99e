"""Memory that is free again stays with the process for a while: what the next read or the next large message needs is at hand.

The C library gives what is free at the end of its heap back to the kernel as soon as it can, and maps large pieces anew each
time. Getting such memory costs a page fault for each 4 KiB, which at messages of 1 MiB was a third of zqd's processor time, and
asking for the READ_SIZE of `zqd.net.link` as much as a whole request.

But large messages come and go in many pieces, and one small thing above them keeps all of them from being given back. So that
is done now and then (`Loop.housekeeping`). Layer 4. Called by: `program`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

# The options of mallopt(3), as in malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3

KEPT = 16 << 20  # bytes free at the end of the heap, from which on they are given back
STEP = 1 << 20  # bytes that are got at a time
LARGEST = 32 << 20  # bytes of one piece, from which on it has a mapping of its own


def keep_free_memory() -> Callable[[], None] | None:
    """Ask the C library for it; returns what gives back all that is free at the moment.

    One that is not glibc does not know how, and goes on as it does; then there is nothing to return.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError, MemoryError):
        import ctypes  # only here: it takes some milliseconds

        library = ctypes.CDLL(None)
        mallopt, malloc_trim = library.mallopt, library.malloc_trim
        malloc_trim.argtypes = [ctypes.c_size_t]
        for option, value in ((M_TRIM_THRESHOLD, KEPT), (M_TOP_PAD, STEP), (M_MMAP_THRESHOLD, LARGEST)):
            mallopt(option, value)
        return lambda: malloc_trim(0)
    return None

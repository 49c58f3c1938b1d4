"""Keep freed memory in the process, so that large tensors reuse pages that the kernel has already cleared."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
NEVER_TRIM = 2**31 - 1  # bytes free at the top of the heap before glibc returns them
LARGEST_IN_HEAP = (1 << 30, 1 << 25)  # bytes of an allocation; older versions of glibc accept no more than 1 << 25


@cache
def keep_freed_memory() -> bool:
    """Make glibc keep the memory of freed tensors. Returns whether it does; without glibc, does nothing.

    By default glibc returns large freed blocks and the free end of the heap to the kernel. Each training step then
    causes tens of thousands of page faults, each of which clears 4 KB. As a drawback, the process holds its peak
    memory until it ends.

    Call it when a process starts its work. Importing the package does not change the allocator of the host program.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = any(mallopt(M_MMAP_THRESHOLD, size) for size in LARGEST_IN_HEAP)
    return bool(mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)) and kept

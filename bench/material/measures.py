"""Process CPU seconds, peak memory, and the machine."""

import contextlib
import ctypes
import gc
import time
from pathlib import Path


def memory_mib(field):
    """A figure of /proc/self/status; None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None)


def peak_mib(work):
    """By how many MiB the process grows at its largest while `work()` runs; None where the system does not tell."""
    gc.collect()
    try:
        # Give freed memory back and count the peak anew, else an earlier pass's would be seen.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        work()
        return None
    before = memory_mib("VmRSS")
    work()
    peak = memory_mib("VmHWM")
    return None if before is None or peak is None else round(peak - before)


def cpu_seconds(work):
    """What `work()` gives, and the CPU seconds that the process spent on it."""
    start = time.process_time()
    value = work()
    return value, time.process_time() - start


def cpu_name():
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return "unknown"

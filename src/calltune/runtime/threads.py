"""How many threads a process computes with on a CPU, and how idle ones wait: the user's word, or the cores it may use.

torch takes a thread for each core of the machine, also where a container may use two of them, and idle threads spin:
on a CPU that others use too, most of what is then computed is waiting.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_OURS = "CALLTUNE_OWN_THREADS"
_CGROUPS = Path("/sys/fs/cgroup")


def bound_threads() -> None:
    """Set the environment that torch's libraries read when they are loaded, unless the user has set a number.

    Idle threads sleep, but for those of a user who has said how they wait.
    """
    if any(name in os.environ for name in _COUNTS):
        return
    chosen = {"OMP_NUM_THREADS": str(available_cores()), **_WAITING}
    missing = {name: value for name, value in chosen.items() if name not in os.environ}
    os.environ.update(missing)
    os.environ[_OURS] = "yes"


def for_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without a number that `bound_threads` chose: of several processes each must have its share.

    The launch tools choose one for them, as they do wherever none is set.
    """
    ours = (_OURS, "OMP_NUM_THREADS") if _OURS in environment else ()
    return {name: value for name, value in environment.items() if name not in ours}


def available_cores(cgroups: Path = _CGROUPS) -> int:
    """Cores that this process may use: of those that it is bound to, what the container's quota leaves; at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def _quota(cgroups: Path) -> float | None:
    """The container's share of time in cores, by cgroup v2, else v1; None where there is no limit."""
    version_1 = [cgroups / "cpu" / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        if (file := cgroups / "cpu.max").exists():
            words = file.read_text(encoding="ascii").split()
        else:
            words = [file.read_text(encoding="ascii").strip() for file in version_1]
        quota, period = words
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        # No cgroups, as on macOS, or none that says so.
        return None

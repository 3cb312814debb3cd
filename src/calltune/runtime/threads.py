"""How many threads a process computes with on a CPU, and how idle threads wait.

The user may say both. Otherwise a process takes as many threads as it may use cores. torch by itself takes a thread for
each core of the machine, even where a container may use only two of them, and idle threads spin. On a CPU that others
use too, most of the computing time would then be spent waiting.
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

    Idle threads sleep, unless the user has said how they wait.
    """
    if any(name in os.environ for name in _COUNTS):
        return
    chosen = {"OMP_NUM_THREADS": str(available_cores()), **_WAITING}
    missing = {name: value for name, value in chosen.items() if name not in os.environ}
    os.environ.update(missing)
    os.environ[_OURS] = "yes"


def for_launcher(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without a number that `bound_threads` chose.

    Each of several processes must have its share of the cores. The launch tools choose that share, as they do wherever
    no number is set.
    """
    ours = (_OURS, "OMP_NUM_THREADS") if _OURS in environment else ()
    return {name: value for name, value in environment.items() if name not in ours}


def available_cores(cgroups: Path = _CGROUPS) -> int:
    """Return how many cores this process may use, at least 1.

    These are the cores that it is bound to, as far as the container's quota allows them.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def _quota(cgroups: Path) -> float | None:
    """Return the container's share of time in cores, by cgroup v2, else v1; None where there is no limit."""
    version_1 = [cgroups / "cpu" / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        if (file := cgroups / "cpu.max").exists():
            words = file.read_text(encoding="ascii").split()
        else:
            words = [file.read_text(encoding="ascii").strip() for file in version_1]
        quota, period = words
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        # There are no cgroups, as on macOS, or none of them states a quota.
        return None

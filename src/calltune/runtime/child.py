"""What a process that `launch.local` started does: it reports to its launcher, and ends when the launcher is gone.

The last thing that a user reads must be the line that is meant for them. So a child writes that line into the
launcher's folder instead of to stderr, where the launch tools would bury it.
"""

import atexit
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType

from calltune.errors import ConfigError
from calltune.runtime.processes import processes

FOLDER, LAUNCHER = "CALLTUNE_LAUNCH_FOLDER", "CALLTUNE_LAUNCHER_PID"


def is_child() -> bool:
    """Return whether a launcher of ours started this process."""
    return FOLDER in os.environ


def begin() -> None:
    """Tell the launcher this process's id, and from here on how this process ends.

    Raises:
        ConfigError: the machine has GPUs, but none is left for this process.
    """
    tell("pid", str(os.getpid()))
    sys.excepthook = _tell_traceback
    atexit.register(_leave)
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    import torch

    if 0 < torch.cuda.device_count() <= processes().local_rank:
        raise ConfigError(f"'launch.processes' is more than the {torch.cuda.device_count()} GPUs of this machine")


def tell(kind: str, text: str) -> None:
    """Leave a message for the launcher: `pid`, `error` or `guard` (the user's line), `traceback`, `asked` (to stop)."""
    # The file gets its name only when it is whole, because the launcher may look at any moment.
    path = Path(os.environ[FOLDER]) / f"{processes().rank}.{kind}"
    path.with_suffix(".part").write_text(text, encoding="utf-8")
    path.with_suffix(".part").rename(path)


def _tell_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    tell("traceback", "".join(traceback.format_exception(kind, error, trace)))


def _leave() -> None:
    torch = sys.modules.get("torch")
    if torch and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with_launcher() -> None:
    """End this process when its launcher is gone.

    A launcher that was killed can end nobody, and its run may be started again at once.
    """
    # psutil comes with accelerate.
    import psutil

    launcher = int(os.environ[LAUNCHER])
    while True:
        time.sleep(0.5)
        try:
            gone = psutil.Process(launcher).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            gone = True
        if gone:
            os._exit(1)

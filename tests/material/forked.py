"""`calltune WORDS` in a fork of a process that has imported what takes long, with what it printed and how it ended."""

import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from calltune.cli import main


def import_all() -> None:
    """Import what the verbs take long to import, and bound torch to one thread, so that a fork of this can train."""
    import torch

    import calltune.verbs.dpo
    import calltune.verbs.export
    import calltune.verbs.run
    import calltune.verbs.sft  # noqa: F401

    torch.set_num_threads(1)


class End(NamedTuple):
    code: int | None
    out: str
    error: str
    seconds: float

    def fault(self, limit: float) -> str | None:
        """What is wrong with it, or None."""
        last = self.error.rstrip().splitlines()[-1:] or [""]
        if self.code is None or self.seconds > limit:
            return f"took {self.seconds:.0f} s"
        if "Traceback" in self.error or self.code not in (0, 2, 3, 4):
            return f"exit {self.code}: {last[0]}"
        if self.code in (2, 4) and not (last[0].startswith("calltune: ") and len(last[0]) < 1000):
            return f"exit {self.code} without its line: {last[0][:300]!r}"
        return None


def in_fork(words: list[str], folder: Path, limit: float, begin: Callable[[], None] = lambda: None) -> End:
    """What `calltune WORDS` does in a folder, in a fork that is killed at twice the limit of seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            _in_child(words, folder, out.fileno(), error.fileno(), begin)
        code = None
        while time.monotonic() - started < 2 * limit:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.005)
        else:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        seconds = time.monotonic() - started
        texts = [os.pread(file.fileno(), 1 << 24, 0).decode(errors="replace") for file in (out, error)]
        return End(code, texts[0], texts[1], seconds)


def _in_child(words: list[str], folder: Path, out: int, error: int, begin: Callable[[], None]) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(error, 2)
        begin()
        code = main(words)
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    except BaseException:  # noqa: BLE001 - it is what the case is judged by
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def stop_after(checkpoints: int) -> Callable[[], None]:
    """Makes a process stop itself, as by SIGTERM, once it has written so many checkpoints."""

    def watch() -> None:
        def look() -> None:
            while len(list(Path("runs/toy/sft").glob("checkpoints/*/complete.json"))) < checkpoints:
                time.sleep(0.002)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=look, daemon=True).start()

    return watch


def must(words: list[str], folder: Path, code: int = 0, begin: Callable[[], None] = lambda: None) -> None:
    """Run what makes the material, and say it if that ends otherwise than it must."""
    end = in_fork(words, folder, 300, begin)
    if end.code != code:
        raise SystemExit(f"calltune {' '.join(words)}: exit {end.code}\n{end.error}")

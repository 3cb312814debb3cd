"""When the disk says no: one line, whichever library was writing."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calltune.errors import CalltuneError, RunFolderError

_NOT_WRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Around a library that writes into a folder: when the disk is full or may not be written, one line says so.

    Raises:
        RunFolderError: the block failed to write, be it by an OSError or by torch's or safetensors' own words for one.
    """
    try:
        yield
    except CalltuneError:
        raise
    except Exception as error:
        problem = _writing_problem(error, folder)
        if problem is None:
            raise
        raise RunFolderError(f"{folder}: cannot be written: {problem}") from error


def _writing_problem(error: BaseException | None, folder: Path) -> str | None:
    """What the system said no with, looking through the errors that led to this one; None when it did not."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
            place = Path(os.fsdecode(error.filename)).absolute() if error.filename else None
            return os.strerror(error.errno) if place is None or folder.absolute() in place.parents else None
        # safetensors, in Rust: "... File too large (os error 27)"; torch.save, in C++, tells no reason.
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            return os.strerror(int(found[1])) if int(found[1]) in _NOT_WRITABLE else None
        if re.search(r"PytorchStreamWriter failed|unexpected pos|file write failed", str(error)):
            return "a file could not be written to its end; is the disk full?"
        error = error.__cause__ or error.__context__
    return None

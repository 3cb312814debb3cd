"""What can be the user's to mend. The command line prints these as one line and exits with 2.

```
CalltuneError
├── ConfigError      the run file or an override: a key, a value, a name that does not exist
├── DataError        a data file: which file, which row, which field
├── ModelError       a model folder or its template: no tokenizer, no tools, no weights
│   └── TemplateLimitError   a chat template takes more time, memory or text than a conversation can need
├── NotFiniteError   a loss, a gradient, a weight or a number for a file is nan or infinite
├── GuardError       a behaviour collapsed while a stage trained; exits with 4
├── RunFolderError   the output folder: another run's, not writable, incomplete
├── LaunchError      one of several processes was killed from outside
├── GateError        a rule of `[gate]` is broken; exits with 3, once the report is written
└── JobError         a job on rented machines was refused, or did not complete
```

Anything else that escapes is a defect of calltune's own and keeps its traceback.
"""

import stat
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any


class CalltuneError(Exception):
    """A mistake the user can mend; its text is one line that says where and what."""


class ConfigError(CalltuneError):
    """The run file or an override is wrong."""


class DataError(CalltuneError):
    """A data file is wrong; the text names file, row and field."""


class ModelError(CalltuneError):
    """A model cannot be used as asked."""


class TemplateLimitError(ModelError):
    """A chat template goes beyond what any conversation needs, so no other row is tried with it."""


class NotFiniteError(CalltuneError):
    """A number is nan or infinite where it decides something; the text says which, and where to look."""


class GuardError(CalltuneError):
    """A behaviour of the model collapsed while a stage trained; the text says which, and when."""


class RunFolderError(CalltuneError):
    """The run's folder cannot be used as asked."""


class LaunchError(CalltuneError):
    """One of several processes was killed from outside, by the system's memory watch for instance."""


class GateError(CalltuneError):
    """A checkpoint was measured and does not keep the rules of `[gate]`."""


class JobError(CalltuneError):
    """A job on rented machines was refused, or did not complete; the text says what to do."""


def not_finite_key(value: Any) -> str:
    """The dotted path of the first number in nested tables and lists that is nan or infinite; empty without one."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in inner:
        if isinstance(part, float) and not isfinite(part):
            return str(key)
        if below := not_finite_key(part):
            return f"{key}.{below}"
    return ""


_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def special_file(path: str | Path) -> str:
    """What a path leads to where that is neither a file nor a folder, such as `a named pipe`; else an empty string.

    Nothing is read from such a thing: to open a pipe waits for whoever writes into it, and a device may never end.
    """
    try:
        return _SPECIAL.get(stat.S_IFMT(Path(path).stat().st_mode), "")
    except (OSError, ValueError):
        # Missing, forbidden, or no path at all; whoever opens it says so.
        return ""


def special_key(value: Any) -> tuple[str, str, str]:
    """The first text in nested tables and lists that names a special file: its dotted path, itself, and what that is.

    Three empty strings where there is none.
    """
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in inner:
        if isinstance(part, str) and (kind := special_file(part)):
            return str(key), part, kind
        below, text, kind = special_key(part)
        if kind:
            return f"{key}.{below}", text, kind
    return "", "", ""

"""What can be the user's to mend. The command line prints these as one line and exits with 2.

```
CalltuneError
├── ConfigError      the run file or an override: a key, a value, a name that does not exist
├── DataError        a data file: which file, which row, which field
├── ModelError       a model folder or its template: no tokenizer, no tools, no weights
├── RunFolderError   the output folder: another run's, not writable, incomplete
├── LaunchError      one of several processes was killed from outside
├── GateError        a rule of `[gate]` is broken; exits with 3, once the report is written
└── JobError         a job on rented machines was refused, or did not complete
```

Anything else that escapes is a defect of calltune's own and keeps its traceback.
"""


class CalltuneError(Exception):
    """A mistake the user can mend; its text is one line that says where and what."""


class ConfigError(CalltuneError):
    """The run file or an override is wrong."""


class DataError(CalltuneError):
    """A data file is wrong; the text names file, row and field."""


class ModelError(CalltuneError):
    """A model cannot be used as asked."""


class RunFolderError(CalltuneError):
    """The run's folder cannot be used as asked."""


class LaunchError(CalltuneError):
    """One of several processes was killed from outside, by the system's memory watch for instance."""


class GateError(CalltuneError):
    """A checkpoint was measured and does not keep the rules of `[gate]`."""


class JobError(CalltuneError):
    """A job on rented machines was refused, or did not complete; the text says what to do."""

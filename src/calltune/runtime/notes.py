"""What a verb that looks for mistakes says: errors, warnings, and what is as it should be, a line each."""

from calltune.errors import CalltuneError, ConfigError
from calltune.runtime.terminal import say


class Notes:
    """Prints what was found as it comes, and counts it. Errors wait until all that can be looked at together was."""

    def __init__(self) -> None:
        self.num_warnings = 0
        self._errors: list[str] = []

    def info(self, text: str) -> None:
        """Say what is as it should be, or good to know."""
        say(f"INFO: {text}")

    def warning(self, text: str) -> None:
        """Say what lets a run go on and makes it worth less; the text says what to do."""
        self.num_warnings += 1
        say(f"WARNING: {text}")

    def error(self, error: CalltuneError | str) -> None:
        """Keep what no run can go on with."""
        self._errors.append(str(error))

    def stop_at_errors(self) -> None:
        """End here if there are errors: one is the exception's text, and of several each has a line of its own.

        Raises:
            ConfigError: there are some.
        """
        if len(self._errors) == 1:
            raise ConfigError(self._errors[0])
        for text in self._errors:
            say(f"ERROR: {text}")
        if self._errors:
            raise ConfigError(f"{len(self._errors)} errors, which the lines above tell; mend them and check again")

    def told(self) -> str:
        """Return how many warnings there were, in words."""
        number = self.num_warnings
        return f"{number or 'No'} warning{'s'[: number != 1]}"

"""`calltune watch`: what a run does now, how far it is and how long it will take, until it ends.

It reads the run's folder alone and writes nothing, so the run knows nothing of it.
"""

import sys
import time
from contextlib import nullcontext

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from calltune.calling.words import message_words
from calltune.config.run_file import Config
from calltune.errors import ConfigError
from calltune.report.page.inert import visible
from calltune.runtime.terminal import say
from calltune.runtime.told import tell_program
from calltune.types import plain
from calltune.verbs.watch_state import Seen, Watcher

SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_LINES = 10.0
_WIDTH = 100
"""Characters of a question or an answer."""


def run(config: Config, once: bool = False) -> None:
    """Show the run until no command works on it; on a terminal in place, in a pipe a line every ten seconds.

    Args:
        once: whether it is looked at once instead.

    Raises:
        ConfigError: there is no run yet.
    """
    if not config.run_folder.is_dir():
        raise ConfigError(f"{config.run_folder}: there is nothing to watch yet ('calltune run' makes it)")
    watcher, told, last = Watcher(config), "", 0.0
    live = Live(console=Console(highlight=False), auto_refresh=False) if sys.stdout.isatty() else None
    with live or nullcontext():
        seen = watcher.look()
        tell_program(**plain(seen))
        if once and seen.command is not None:
            say(headline(seen))
            return
        while seen.command is not None:
            if live:
                live.update(Group(*map(Text, lines_of(seen))), refresh=True)
            elif (text := headline(seen)) != told and (
                text.split(":")[0] != told.split(":")[0] or time.monotonic() - last >= _SECONDS_BETWEEN_LINES
            ):
                told, last = text, time.monotonic()
                say(text)
                sys.stdout.flush()
            time.sleep(SECONDS_BETWEEN_LOOKS)
            seen = watcher.look()
        if live:
            live.update(Text(""), refresh=True)
    complete = ", ".join(seen.stages) or "nothing"
    say(
        f"no command works on {config.run_folder}; complete: {complete}"
        + (f"; begun: {seen.doing}" if seen.doing else "")
    )
    if "report" in seen.stages:
        say(f"page: {config.run_folder / 'report.html'}")


def headline(seen: Seen) -> str:
    """What the run does now, in one line."""
    if not seen.doing:
        return f"{seen.command}: between stages" + (f" (after {seen.stages[-1]})" if seen.stages else "")
    parts = [f"{seen.done:,}" + ("" if seen.total is None else f" of {seen.total:,}")]
    if seen.loss is not None:
        parts.append(f"loss {seen.loss:.3f}")
    if seen.seconds_left is not None:
        parts.append(f"about {duration(seen.seconds_left)} left")
    return f"{seen.doing}: {', '.join(parts)}"


def lines_of(seen: Seen) -> list[str]:
    """What is shown on a terminal: the command, what is complete, what it does now, and the first answers."""
    lines = [str(seen.command), f"complete: {', '.join(seen.stages) or 'nothing yet'}", headline(seen)]
    for sample, completion in seen.answers:
        answer = message_words(completion.message) if completion.message else f"[{completion.status}] {completion.text}"
        for mark, text in ((">", sample.messages[-1].content), (" ", answer)):
            one_line = visible(" ".join(text.split()))
            lines.append(f"  {mark} {one_line if len(one_line) <= _WIDTH else one_line[: _WIDTH - 3] + '...'}")
    return lines


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would take."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

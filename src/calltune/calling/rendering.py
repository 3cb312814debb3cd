"""Writing a conversation through a model's chat template, in bounded time.

A template is a program of the model's. Jinja's sandbox keeps it from files and from Python, but lets it loop for days
or fill the memory. So before a template is used, it writes a few conversations in a forked process with bounds on time
and memory; what happens with every conversation, while it is compiled already, perhaps, ends there. Afterwards each
conversation has the same time, by the processor's clock, and a bound on its text. What a template does with the content
of one row alone is therefore bounded in time, between two steps of Python, and in text, but not in memory; and in
another thread than the main one, where Python takes no signals, not in time either.
"""

import os
import re
import resource
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from calltune.errors import ModelError, TemplateLimitError

SECONDS = 10.0
"""For one conversation, of the processor's time, and for the few that a template is proven with."""

MOST_CHARACTERS = 2**25
"""Of one conversation: several times what the longest contexts, of a million tokens, hold."""

_MOST_BYTES = 2**30
_MOST_WORDS = 300  # of a reason, in characters

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_proven: set[str] = set()
_begun = 0.0

_TOOL = {"type": "function", "function": {"name": "t", "description": "T.", "parameters": {"type": "object"}}}
_CALL = {"type": "function", "function": {"name": "t", "arguments": {"a": "b"}}}
_CALL_AS_TEXT = {"type": "function", "function": {"name": "t", "arguments": '{"a": "b"}'}}
_SHAPES: tuple[list[dict[str, Any]], ...] = (
    [{"role": "user", "content": "q"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
    [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "content": "r"},
        {"role": "assistant", "content": "a"},
    ],
    [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [_CALL_AS_TEXT]},
        {"role": "tool", "content": "r"},
    ],
)


def render(
    tokenizer: Any,
    name: str,
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]] | None,
    *,
    add_generation_prompt: bool,
    **keys: Any,
) -> str:
    """A conversation as text.

    Args:
        name: of the model, for messages.
        messages: in transformers' layout, as are the tools.
        keys: what the template is told besides.

    Raises:
        ModelError: the template refuses the conversation, or fails at it.
        TemplateLimitError: it takes too long, or writes too much.
    """
    _prove_once(tokenizer, name, keys)
    try:
        with _Bounded():
            text = str(_apply(tokenizer, messages, tools, add_generation_prompt, keys))
    except _OutOfTime:
        raise TemplateLimitError(
            f"model '{name}': its chat template took more than {SECONDS:.0f} seconds for one conversation"
        ) from None
    except Exception as error:
        raise ModelError(f"model '{name}': its chat template refuses a conversation: {_words(error)}") from error
    if len(text) > MOST_CHARACTERS:
        raise _wrote_too_much(name)
    return text


def _apply(tokenizer: Any, messages: Any, tools: Any, add_generation_prompt: bool, keys: Any) -> Any:
    return tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt, **keys
    )


def _words(error: Exception) -> str:
    """What a template or Python says; its kind before it where the text alone says little."""
    text = _ADDRESS.sub("", " ".join(str(error).split()))[:_MOST_WORDS]
    # jinja2's own errors, and transformers' for a template's `raise_exception`, speak for themselves.
    speaks = type(error).__module__.startswith("jinja2") or isinstance(error, TypeError | ValueError)
    return text if text and speaks else f"{type(error).__name__}{text and ': '}{text}"


class _OutOfTime(BaseException):
    """Not an `Exception`, so that nothing within a template takes it for one of its own."""


class _TooMuchText(Exception):
    """More than `MOST_CHARACTERS`."""


class _Bounded:
    """Ends what runs within it when it has taken too much of the processor's time; costs a microsecond."""

    def __enter__(self) -> None:
        global _begun
        self._is_watched = threading.current_thread() is threading.main_thread()
        if self._is_watched:
            if signal.getsignal(signal.SIGVTALRM) is not _end:
                signal.signal(signal.SIGVTALRM, _end)
            _begun = time.thread_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)

    def __exit__(self, *error: object) -> None:
        if self._is_watched:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _end(number: int, frame: FrameType | None) -> None:
    # The timer counts the time of all threads.
    left = SECONDS - (time.thread_time() - _begun)
    if left > 0:
        signal.setitimer(signal.ITIMER_VIRTUAL, left)
        return
    raise _OutOfTime


def _prove_once(tokenizer: Any, name: str, keys: dict[str, Any]) -> None:
    """Let a template write what most rows are like, in a process that may not take more than the bounds.

    Raises:
        TemplateLimitError: it did.
    """
    # It may do other things when it is told to think.
    template = repr(tokenizer.chat_template) + " thinking" * bool(keys.get("enable_thinking"))
    if template in _proven:
        return

    def write() -> None:
        for messages in _SHAPES:
            for tools in ([_TOOL], None):
                for begins in (True, False):
                    try:
                        text = str(_apply(tokenizer, messages, tools, begins, keys))
                    except MemoryError:
                        raise
                    except Exception:  # noqa: BLE001  # a refusal is told where it belongs, by who asked
                        continue
                    if len(text) > MOST_CHARACTERS:
                        raise _TooMuchText

    outcome = _in_a_process(write)
    if outcome == "_TooMuchText":
        raise _wrote_too_much(name)
    if outcome == "MemoryError":
        raise TemplateLimitError(f"model '{name}': its chat template takes more than 1 GB of memory")
    if outcome == "time":
        raise TemplateLimitError(
            f"model '{name}': its chat template does not come to an end within {SECONDS:.0f} seconds"
        )
    if outcome != "done":
        raise TemplateLimitError(f"model '{name}': its chat template ended the process that tried it ({outcome})")
    _proven.add(template)


def _wrote_too_much(name: str) -> TemplateLimitError:
    return TemplateLimitError(f"model '{name}': its chat template writes more than {MOST_CHARACTERS:,} characters")


def _in_a_process(work: Callable[[], None]) -> str:
    """Do something in a forked process: "done", "time", the name of the error, or of the signal that ended it.

    A fork starts in milliseconds where a new interpreter takes a second. Its single thread runs Python alone, neither
    torch nor a tokenizer, and it leaves without the exit handlers that are its parent's.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # From Python 3.12 on, for what a fork of several threads may lead to.
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            _bound_this_process()
            work()
            outcome = "done"
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent is told
            outcome = type(error).__name__
        os.write(writing, outcome.encode())
        os._exit(0)
    os.close(writing)
    told, is_over = b"", False
    try:
        is_over = bool(select.select([reading], [], [], SECONDS)[0])
        told = os.read(reading, 100) if is_over else b"time"
    finally:
        os.close(reading)
        if not is_over:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    return told.decode() or signal.Signals(os.WTERMSIG(status)).name


def _bound_this_process() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    size = Path("/proc/self/statm")
    if size.exists():
        most = int(size.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE") + _MOST_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

"""Sessions of Strands: a folder for each agent, with `agent.json` and `messages/message_0.json` ...; each is a row."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calltune.calling.strict_json import parse_value
from calltune.data.sources.containers import opened
from calltune.errors import DataError

_MESSAGE = re.compile(r"message_\d+\.json")


def session_folder(file: Path) -> Path | None:
    """Return the folder of the agent whose session a file belongs to, or None for a file of another kind."""
    if file.name == "agent.json" and (file.parent / "messages").is_dir():
        return file.parent
    is_message = file.parent.name == "messages" and _MESSAGE.fullmatch(file.name)
    return file.parent.parent if is_message and (file.parent.parent / "agent.json").exists() else None


def is_session(folder: Path) -> bool:
    """Return whether a folder is that of one agent's session."""
    return (folder / "agent.json").is_file() and (folder / "messages").is_dir()


def is_of_session(file: Path) -> bool:
    """Return whether a file only describes a session, and holds no message."""
    return file.name == "session.json" and (file.parent / "agents").is_dir()


def session_files(folder: Path) -> list[Path]:
    """Return the files of a session that are read."""
    messages = (folder / "messages").iterdir()
    return [folder / "agent.json", *sorted(file for file in messages if _MESSAGE.fullmatch(file.name))]


def session_rows(folder: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield the one row of a session: (its place, the row, what is wrong with it)."""
    where, numbered = f"{folder}:1", dict[int, Any]()
    try:
        agent = _object(folder / "agent.json", where)
        for file in session_files(folder)[1:]:
            kept = _object(file, where)
            number = kept.get("message_id")
            if not isinstance(number, int) or number in numbered:
                raise DataError(f"{where}: {file.name}: 'message_id' must be a number of its own")
            # Strands itself goes on from the redacted message where there is one.
            numbered[number] = kept.get("redact_message") or kept.get("message")
        if sorted(numbered) != list(range(len(numbered))):
            missing = next(number for number in range(len(numbered)) if number not in numbered)
            raise DataError(f"{where}: its message {missing} is missing")
    except DataError as error:
        yield where, None, str(error)
        return
    state = {key: agent.get(key) for key in ("agent_id", "conversation_manager_state")}
    yield where, {**state, "messages": [numbered[number] for number in sorted(numbered)]}, ""


def _object(file: Path, where: str) -> dict[str, Any]:
    with opened(file) as opened_file:
        value = parse_value(opened_file.read(), f"{where}: {file.name}")
    if not isinstance(value, dict):
        raise DataError(f"{where}: {file.name} must hold an object, not {type(value).__name__}")
    return value

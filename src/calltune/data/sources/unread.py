"""Keys of a row that hold text or a schema and that nobody reads: they are told, once per file, with their count."""

from collections.abc import Collection, Mapping
from typing import Any

from calltune.calling.edits import Change, tell

_SCHEMA_KEYS = ("properties", "parameters", "inputSchema", "input_schema", "toolSpec", "functionDeclarations")


def tell_unread(row: Mapping[str, Any], read: Collection[str], where: str, what: str) -> None:
    """Tell the listener of the keys of a row, or of a message, that hold text or a schema and are not among `read`.

    A text is more than one word: ids, names of models and dates are none. `where` begins with `file:line`.
    """
    for key, value in row.items():
        if key not in read and _is_worth_telling(value):
            path = f"/{key}" if what == "row" else f"/{what}/*/{key}"
            tell(where, "row", (Change("key_unread", "remove", path),))


def _is_worth_telling(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.split(maxsplit=1)) > 1
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return False
    inner = value.get("function")
    is_message = "role" in value and "content" in value
    return is_message or any(key in value for key in _SCHEMA_KEYS) or (isinstance(inner, dict) and "name" in inner)

"""The columns of a row that may be JSON text, which is how rows come through Parquet and CSV."""

from collections.abc import Mapping
from typing import Any

from calltune.calling.strict_json import parse_value
from calltune.errors import DataError

COLUMNS = (
    *("messages", "conversations", "chosen", "rejected", "prompt", "completion", "input", "output", "request"),
    *("response", "choices", "contents", "body", "preferred_output", "non_preferred_output"),
)


def with_columns(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the row, its columns of JSON text read, as `tools` is.

    Raises:
        DataError: a list of messages is JSON text that cannot be read.
    """
    result = dict(row)
    for key in COLUMNS:
        text = row.get(key)
        if not isinstance(text, str) or not text.lstrip().startswith(("[", "{")):
            continue
        try:
            result[key] = parse_value(text, f"{where}: {key}")
        except DataError:
            # Elsewhere a text may begin with a bracket and still be words.
            if key in ("messages", "conversations"):
                raise
    return result

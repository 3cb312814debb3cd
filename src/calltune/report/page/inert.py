"""Text of models and data made harmless to look at: what would steer the page or the reader's eye becomes visible."""

import json
import unicodedata
from typing import Any

_KEPT = {"\n", "\t"}
_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Joiners that emoji and several scripts are written with, and the soft hyphen: they steer nothing.
_HARMLESS = {"\u200c", "\u200d", "\u00ad"}


def visible(text: str) -> str:
    """The text with control characters, direction overrides and lone surrogates written out, as `[U+202E]`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def json_for_page(value: Any) -> str:
    """JSON that may stand inside a `<script>`: no `<` in it can end the element or begin another.

    Control characters in its strings are made visible first.
    """
    text = json.dumps(_visible_all(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _visible_all(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): _visible_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_visible_all(inner) for inner in value]
    return value


def _shown(character: str) -> str:
    if character in _KEPT or character in _HARMLESS or unicodedata.category(character) not in _STEERING:
        return character
    return f"[U+{ord(character):04X}]"

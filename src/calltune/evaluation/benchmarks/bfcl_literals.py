"""Java and JavaScript literals as values, exactly as far as BFCL reads them.

In BFCL's Java and JavaScript rows a model gives every argument as text, the source code of the value. What a reader
here does not recognise stays text, and text can still be right: it may be the name of a variable.

The readers follow `java_type_converter.py` and `js_type_converter.py` of bfcl-eval 2026.3.23 to the verdict, with what
is odd in them: the elements of a Java `Array` of `String` keep their quotes (so that only unquoted ones can be right),
lists are split at every comma, and an object in JavaScript ends at its first closing brace.
"""

import re
from collections.abc import Callable
from typing import Any

_WHOLE = r"(-?\d+)"
_DECIMAL = r"(-?\d+(?:\.\d+)?)"
_SCIENTIFIC = r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
# A line break after the number is let through; the suffix is never optional.
_Number = tuple[re.Pattern[str], Callable[[str], int | float]]
_JAVA_NUMBERS: dict[str, _Number] = {
    "byte": (re.compile(_WHOLE + r"\n?"), int),
    "short": (re.compile(_WHOLE + r"\n?"), int),
    "integer": (re.compile(_WHOLE + r"\n?"), int),
    "long": (re.compile(_WHOLE + r"[lL]\n?"), int),
    "float": (re.compile(_SCIENTIFIC + r"[fF]\n?"), float),
    "double": (re.compile(_SCIENTIFIC + r"\n?"), float),
}
_JAVASCRIPT_NUMBERS: dict[str, _Number] = {
    "integer": (re.compile(_WHOLE + r"\n?"), int),
    "float": (re.compile(_DECIMAL + r"\n?"), float),
    "Bigint": (re.compile(_WHOLE + "n"), int),
}
_BOOLEANS = {"true": True, "false": False}

_JAVA_ARRAY = re.compile(r"new\s+\w+\[\]\s*\{([^}\n]*)\}")
_JAVA_AS_LIST = re.compile(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)")
_JAVA_LIST = re.compile(r"new\s+ArrayList<\w*>\(\)")
_JAVA_LIST_BLOCK = re.compile(_JAVA_LIST.pattern + r"\s*\{\{\s*")
_JAVA_ADD = re.compile(r"add\((.+?)\)")
_JAVA_MAP = re.compile(r"new\s+HashMap<.*?>\s*\(\)")
_JAVA_MAP_BLOCK = re.compile(_JAVA_MAP.pattern + r"\s*\{", re.DOTALL)
_JAVA_PUT = re.compile(r'put\("(.*?)",\s*(.*?)\)')

_ROWS_BEGIN = re.compile(r"\[\s*\[|new\s+Array\(\s*\[")
_ROW = re.compile(r"\[([^\]\n]*)\]")
_FLAT_ARRAY = re.compile(r"\[([^\]\n]*)\]|new\s+Array\(([^)\n]*)\)")
_OBJECT = re.compile(r"\{([^}\n]*)\}")
# A comma ends a value only where another key follows.
_ENTRY = re.compile(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)")


def read_java(text: str, kind: str, items: str | None = None) -> Any:
    """The value of a Java literal of a BFCL type, or the text itself; `items` is the type of a list's elements."""
    if kind in _JAVA_NUMBERS:
        return _number(text, _JAVA_NUMBERS[kind])
    if kind == "boolean":
        return _BOOLEANS.get(text, text)
    if kind == "Array":
        found = _JAVA_ARRAY.search(text)
        return [_java_element(part, items) for part in _parts(found[1]) if part] if found else text
    if kind == "ArrayList":
        return _java_list(text, items)
    return _java_map(text) if kind == "HashMap" else text


def read_javascript(text: str, kind: str, items: str | None = None) -> Any:
    """The value of a JavaScript literal of a BFCL type, or the text itself; `items` as for Java."""
    if kind in _JAVASCRIPT_NUMBERS:
        return _number(text, _JAVASCRIPT_NUMBERS[kind])
    if kind == "Boolean":
        return _BOOLEANS.get(text, text)
    if kind == "String":
        return text[1:-1] if _is_quoted(text, "\"'") else text
    if kind == "array":
        return _javascript_array(text.strip(), items)
    return _javascript_object(text.strip()) if kind == "dict" else text


def _number(text: str, number: _Number) -> int | float | str:
    pattern, convert = number
    found = pattern.fullmatch(text)
    try:
        return convert(found[1]) if found else text
    except ValueError:  # Python refuses to read more than 4,300 digits
        return text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _is_quoted(text: str, quotes: str) -> bool:
    return any(text.startswith(quote) and text.endswith(quote) for quote in quotes)


def _untyped(text: str, quotes: str) -> Any:
    """A value whose type the tool does not tell, by its looks."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _is_quoted(text, quotes):
        return text[1:-1]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _java_untyped(text: str) -> Any:
    for kind in ("long", "float"):
        value = _number(text, _JAVA_NUMBERS[kind])
        if value is not text:
            return value
    return _untyped(text, '"')


def _java_element(text: str, items: str | None) -> Any:
    return read_java(text, items) if items else _java_untyped(text)


def _java_list(text: str, items: str | None) -> Any:
    if found := _JAVA_AS_LIST.search(text):
        parts = _parts(found[1])
    elif (begin := _JAVA_LIST_BLOCK.search(text)) and (end := text.find("}}", begin.end() + 1)) >= 0:
        parts = [part.strip() for part in _JAVA_ADD.findall(text[begin.end() : end])]
    else:
        return [] if _JAVA_LIST.search(text) else text
    # Texts and characters lose their first and last letter, whether those are quotes or not.
    return [part[1:-1] if items in ("char", "String") else _java_element(part, items) for part in parts]


def _java_map(text: str) -> Any:
    if (begin := _JAVA_MAP_BLOCK.search(text)) and (end := text.find("}", begin.end())) >= 0:
        # Up to the last bracket, as a match ends with one: to look for it in a loop without any takes its length cubed.
        puts = _JAVA_PUT.findall(text[begin.end() : text.rfind(")", begin.end(), end) + 1])
        return {key: _java_untyped(value.strip()) for key, value in puts}
    return {} if _JAVA_MAP.search(text) else text


def _javascript_array(text: str, items: str | None) -> Any:
    begin = _ROWS_BEGIN.match(text)
    if begin and (end := _end_of_rows(text, begin)):
        rows = [row.strip() for row in _ROW.findall(text[:end])]
        # The first row was found from the bracket of the whole array.
        rows[0] = rows[0].removeprefix("[")
        return [[_untyped(part, "\"'") for part in _parts(row)] for row in rows]
    found = _FLAT_ARRAY.match(text)
    if not found:
        return text
    inside = (found[1] if found[1] is not None else found[2]).strip()
    parts = _parts(inside) if inside else []
    return [read_javascript(part, items) if items else _untyped(part, "\"'") for part in parts]


def _end_of_rows(text: str, begin: re.Match[str]) -> int | None:
    """Where an array of arrays ends: at the first closing bracket that follows a row; None if it does not end."""
    closing = ")" if begin[0].startswith("new") else "]"
    next_row = re.compile(rf"\s*(\{closing}|,\s*\[)")
    start = begin.end()
    while True:
        end = text.find("]", start)
        if end < 0 or "\n" in text[start:end]:
            return None
        after = next_row.match(text, end + 1)
        if after and after[1] == closing:
            return after.end()
        start = after.end() if after else end + 1


def _javascript_object(text: str) -> Any:
    found = _OBJECT.match(text)
    if not found:
        return text
    entries = {}
    for key, value in _ENTRY.findall(found[1]):
        value = value.strip()
        is_array = value.startswith("[") and value.endswith("]")
        # The quotes go first, so that "5" in quotes is the number.
        plain = _javascript_array(value, None) if is_array else _untyped(value.strip("'\"").strip(), "\"'")
        entries[key.strip().strip("'\"")] = plain
    return entries

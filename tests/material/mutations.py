"""Changes that happen to files: by hand, by a broken download, by another version, by somebody with bad intentions."""

import copy
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4" * 64 + b"\nsize 6501872\n"
DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63, 1e308, float("nan"), float("inf"), 0.5, "", "x", "\ud800", "\x00", "é" * 300,
    "../../x", "/dev/null", "{run}", "None", [], {}, [None], [[]], {"": None}, {"x": {"x": []}}, ["x", 1], DEEP,
]  # fmt: skip
"""What may stand where something else is due."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside, the outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def changed_value(document: Any, chance: random.Random) -> tuple[Any, str]:
    """The document with one place changed, and words for the change."""
    document = copy.deepcopy(document)
    path = chance.choice(places(document))
    where = ".".join(map(str, path)) or "all of it"
    if not path:
        value = chance.choice(VALUES)
        return value, f"{where} := {_short(value)}"
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    last, kind = path[-1], chance.randrange(6)
    if kind == 0:
        del parent[last]
        return document, f"{where} removed"
    if kind == 1 and isinstance(parent, dict):
        parent[f"{last}x"] = parent.pop(last)
        return document, f"{where} renamed"
    if kind == 2 and isinstance(parent, list):
        parent.insert(last, copy.deepcopy(parent[last]))
        return document, f"{where} twice"
    value = chance.choice(VALUES)
    parent[last] = value
    return document, f"{where} := {_short(value)}"


def changed_text(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Bytes as a broken pipe, editor, disk or download leaves them, and words for the change."""
    place = chance.randrange(len(data) + 1)
    lines = data.splitlines(keepends=True) or [b""]
    line = chance.randrange(len(lines))
    changes: dict[str, Callable[[], bytes]] = {
        "empty": lambda: b"",
        f"cut after {place} bytes": lambda: data[:place],
        f"line {line + 1} removed": lambda: b"".join(lines[:line] + lines[line + 1 :]),
        f"line {line + 1} twice": lambda: b"".join([*lines[: line + 1], *lines[line:]]),
        f"the first {place} bytes lost": lambda: data[place:],
        f"NUL at {place}": lambda: data[:place] + b"\0" * 64 + data[place:],
        f"bytes of no text at {place}": lambda: data[:place] + b"\xff\xfe\xed\xa0\x80" + data[place:],
        f"a flipped bit at {place}": lambda: (
            data[:place] + bytes(b ^ 4 for b in data[place : place + 1]) + data[place + 1 :]
        ),
        "a byte order mark": lambda: b"\xef\xbb\xbf" + data,
        "UTF-16": lambda: data.decode("utf-8", "replace").encode("utf-16"),
        "a pointer of git-lfs": lambda: POINTER,
        "a page of HTML": lambda: b"<!doctype html><html><body>404: not found</body></html>\n",
    }
    name = chance.choice(list(changes))
    return changes[name](), name


def changed_weights(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """A safetensors file with a field of its header changed, or its bytes as `changed_text` has them."""
    if chance.random() < 0.5:
        return changed_text(data, chance)
    length = int.from_bytes(data[:8], "little")
    header, words = changed_value(json.loads(data[8 : 8 + length]), chance)
    written = json.dumps(header).encode()
    return len(written).to_bytes(8, "little") + written + data[8 + length :], f"header: {words}"


def change(file: Path, chance: random.Random) -> str:
    """Change a file in place, as its kind can be, or what stands at its name; words for the change."""
    data = file.read_bytes()
    if chance.random() < 0.04:
        return _no_file(file, chance)
    rows = file.suffix == ".jsonl" or file.name.startswith("BFCL")
    if file.suffix == ".safetensors":
        changed, words = changed_weights(data, chance)
    elif rows and chance.random() < 0.75 and data.strip():
        lines = data.splitlines()
        line = chance.randrange(len(lines))
        row, words = changed_value(json.loads(lines[line]), chance)
        lines[line] = json.dumps(row).encode()
        changed, words = b"\n".join(lines) + b"\n", f"line {line + 1}: {words}"
    elif file.suffix == ".json" and not rows and chance.random() < 0.75:
        document, words = changed_value(json.loads(data), chance)
        changed = json.dumps(document).encode()
    else:
        changed, words = changed_text(data, chance)
    # Never into a file that is linked to another.
    file.unlink()
    file.write_bytes(changed)
    return words


def _no_file(file: Path, chance: random.Random) -> str:
    """Something that is no file, or nothing, at the name of one."""
    file.unlink()
    kind = chance.choice(["removed", "a folder", "a link to itself", "a link to nothing", "a pipe"])
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a folder":
        file.mkdir()
    elif kind != "removed":
        file.symlink_to(file.name if kind == "a link to itself" else "nowhere")
    return kind


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) < 40 else f"{text[:36]}..."

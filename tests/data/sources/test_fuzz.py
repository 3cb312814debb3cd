"""A thousand damaged files over all the sources that read files: no traceback, and every message says where."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from damaged_rows_script import run_cases
from layout_rows import FILES

from calltune.data.rows import training_row
from calltune.errors import DataError
from calltune.files.json_lines import to_json
from calltune.types import Example, Preference, Rejected

WILD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1.5,
    10**30,
    "",
    "x",
    "[",
    "{}",
    "é\n",
    [],
    [None],
    [[]],
    {},
    {"a": 1},
    "<tools>[",
)
TEXTS = ("NaN", "Infinity", "-1e999", "9" * 5000, '"\\ud800"', "[" * 5000, '{"a":' * 80 + "1" + "}" * 80, "{,}", "'x'")


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Where a value can be replaced."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def replaced(value: Any, path: tuple, other: Any) -> Any:
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], other)
    return copy


def wrong_type(dice: random.Random, rows: list[Any]) -> list[Any]:
    number = dice.randrange(len(rows))
    return replaced(rows, (number, *dice.choice(places(rows[number]))), dice.choice(WILD))


def wrong_json(dice: random.Random, rows: list[Any]) -> list[Any]:
    number = dice.randrange(len(rows))
    mark = "@place@"
    text = json.dumps(replaced(rows[number], dice.choice(places(rows[number])), mark))
    return [*rows[:number], RawText(text.replace(f'"{mark}"', dice.choice(TEXTS))), *rows[number + 1 :]]


class RawText(str):
    """A row that is written as it stands."""


def written(rows: Any, as_array: bool) -> bytes:
    if not isinstance(rows, list):
        return json.dumps(rows).encode()
    texts = [row if isinstance(row, RawText) else json.dumps(row) for row in rows]
    return (f"[{', '.join(texts)}]" if as_array else "\n".join(texts)).encode()


DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "cut": lambda dice, data: data[: dice.randrange(len(data))],
    "cut inside": lambda dice, data: data[: (at := dice.randrange(len(data)))] + data[at + dice.randrange(1, 40) :],
    "a byte": lambda dice, data: (
        data[: (at := dice.randrange(len(data)))] + bytes([dice.randrange(256)]) + data[at + 1 :]
    ),
    "not UTF-8": lambda dice, data: data.replace(b"q", b"\xff\xfe\xc3", dice.randrange(1, 3)),
    "another encoding": lambda dice, data: data.decode().encode(
        dice.choice(["utf-16", "utf-16-be", "utf-32", "cp500"])
    ),
    "mark": lambda dice, data: b"\xef\xbb\xbf" + data,
    "line ends": lambda dice, data: data.replace(b"\n", b"\r\n") + b"\r\n\r\n",
    "a key twice": lambda dice, data: data.replace(b"{", b'{"role": "user", "role": "user", ', dice.randrange(1, 4)),
    "empty": lambda dice, data: dice.choice([b"", b"\n\n", b"\xef\xbb\xbf", b"[]", b"null", b" [ "]),
    "spread": lambda dice, data: data.replace(b",", b",\n"),
}
HARMLESS = ("mark", "line ends")


@pytest.mark.parametrize("number", range(len(FILES)), ids=lambda number: FILES[number][0].__name__.rsplit(".")[-1])
def test_two_hundred_damaged_files(tmp_path: Path, number: int) -> None:
    source, rows, keys = FILES[number]
    outcomes = Counter[str]()
    for seed in range(200):
        dice = random.Random(f"{number} {seed}")
        name = dice.choice([*DAMAGES, "wrong type", "wrong type", "wrong JSON", "wrong JSON"])
        changed = wrong_type(dice, rows) if name == "wrong type" else rows
        changed = wrong_json(dice, changed) if name == "wrong JSON" else changed
        data = written(changed, as_array=dice.random() < 0.4)
        file = tmp_path / dice.choice(["rows.jsonl", "rows.json"])
        file.write_bytes(DAMAGES[name](dice, data) if name in DAMAGES else data)
        outcome = what_comes_of(source, file, keys)
        outcomes[outcome] += 1
        assert outcome == "read" or name not in HARMLESS, (name, outcome)
    assert set(outcomes) == {"read", "rows rejected", "file refused"}


def what_comes_of(source: ModuleType, file: Path, keys: dict[str, Any]) -> str:
    nouns, refusal = list[Any](), ""
    try:
        nouns = list(source.read(source.Settings(path=str(file), **keys)))
    except DataError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(f"{file}:")
        assert len(refusal.splitlines()) == 1
        return "file refused"
    assert nouns
    assert all(isinstance(noun, Example | Preference | Rejected) for noun in nouns)
    for noun in nouns:
        json.loads(to_json(noun if isinstance(noun, Rejected) else training_row(noun)))
    rejected = [noun for noun in nouns if isinstance(noun, Rejected)]
    for noun in rejected:
        assert re.fullmatch(rf"{re.escape(str(file))}:\d+: [^\n]+", noun.reason)
        assert re.fullmatch(rf"{re.escape(str(file))}:\d+(#\d+)?", noun.id)
        assert len(noun.reason) < 1000
    return "rows rejected" if rejected else "read"


def test_rows_of_every_layout_are_read_or_rejected() -> None:
    ends = run_cases(count=120, seed=1)
    assert "bad" not in ends
    assert {"read", "rows rejected", "file refused"} < set(ends)

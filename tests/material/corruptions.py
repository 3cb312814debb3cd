"""Plant faults into clean rows, look at them as `audit` and `prepare` do, and count which are found.

Run as `python tests/material/corruptions.py [--count 500] [--rows 2400] [--data FOLDER]`. The clean rows are real ones,
where FOLDER (by default CALLTUNE_SHARED_DATA) has them, and made-up ones of the same shape. A fault counts as found if
its row of the file has a finding that is named for it; a false alarm is such a finding at a row without the fault. Two
results of one tool that fit both calls alike are swapped too, and cannot be found. The last line is a JSON object.
"""

import argparse
import copy
import json
import os
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from calltune.calling.edits import changes_told_to
from calltune.config.data import REJECTED
from calltune.data.audit.seen import Auditor, Seen
from calltune.data.audit.tally import place_of
from calltune.data.doctor.verdicts import judge
from calltune.data.sources.auto import described

Row = dict[str, Any]
DETAILS: tuple[Callable[[random.Random], str], ...] = (
    lambda chance: (
        f"{chance.choice(('ann', 'b.lee', 'carla_92'))}{chance.randrange(999)}@mail{chance.randrange(99)}.com"
    ),
    lambda chance: f"({chance.randrange(200, 999)}) {chance.randrange(200, 999)}-{chance.randrange(1000, 9999)}",
    lambda chance: f"+49 {chance.randrange(151, 179)} {chance.randrange(1000000, 9999999)}",
    lambda chance: with_luhn(f"4{chance.randrange(10**13, 10**14)}"),
    lambda chance: f"{chance.randrange(11, 223)}." + ".".join(str(chance.randrange(1, 255)) for _ in range(3)),
)


def with_luhn(digits: str) -> str:
    """Digits with the one that makes Luhn's check right, in groups of four."""
    for last in "0123456789":
        number = digits + last
        places = [int(sign) for sign in reversed(number)]
        total = sum(places[::2]) + sum(sum(divmod(2 * place, 10)) for place in places[1::2])
        if total % 10 == 0:
            return " ".join(number[start : start + 4] for start in range(0, len(number), 4))
    raise AssertionError("one of ten digits is right")


def swap_results(row: Row, chance: random.Random) -> Row | None:
    """Two results of different calls change their places."""
    results = [message for message in row["messages"] if message["role"] == "tool"]
    pairs = [(a, b) for n, a in enumerate(results) for b in results[n + 1 :] if a["content"] != b["content"]]
    if not pairs:
        return None
    first, second = chance.choice(pairs)
    first["content"], second["content"] = second["content"], first["content"]
    return row


def cut_answer(row: Row, chance: random.Random) -> Row | None:
    """The last answer stops early: its text or its arguments, half of them with the server's word for it."""
    answer = row["messages"][-1]
    if answer["role"] != "assistant":
        return None
    is_said = chance.random() < 0.5
    if answer.get("tool_calls"):
        function = answer["tool_calls"][-1]["function"]
        function["arguments"] = function["arguments"][: chance.randrange(1, len(function["arguments"]))]
    elif len(answer["content"]) < 20:
        return None
    else:
        text = answer["content"]
        answer["content"] = text[: chance.randrange(len(text) // 3, len(text) - 2)]
    if is_said:
        answer["finish_reason"] = "length"
    return row


def lose_call(row: Row, chance: random.Random) -> Row | None:
    """A message with a call goes, its result stays."""
    messages = row["messages"]
    answered = [n for n, m in enumerate(messages[1:]) if m["role"] == "tool" and messages[n].get("tool_calls")]
    if not answered:
        return None
    del messages[chance.choice(answered)]
    return row


def foreign_tool(row: Row, chance: random.Random) -> Row | None:
    """A call names a tool that is not among those offered: another one, or its own is no longer there."""
    calls = [call["function"] for message in row["messages"] for call in message.get("tool_calls") or ()]
    if not calls:
        return None
    call = chance.choice(calls)
    if chance.random() < 0.5:
        call["name"] = chance.choice((f"{call['name']}_v2", f"functions.{call['name']}", "lookup_account"))
    else:
        row["tools"] = [tool for tool in row["tools"] if tool["function"]["name"] != call["name"]]
    return row


def personal_detail(row: Row, chance: random.Random) -> Row | None:
    """Somebody writes who they are, or a tool says it."""
    spoken = [message for message in row["messages"] if message["role"] in ("user", "tool") and message["content"]]
    message, detail = chance.choice(spoken), chance.choice(DETAILS)(chance)
    message["content"] += chance.choice((f" My contact is {detail}.", f" ({detail})", f" {detail}"))
    return row


FAULTS: dict[str, tuple[Callable[[Row, random.Random], Row | None], tuple[str, ...]]] = {
    "swapped results": (swap_results, ("swapped_result",)),
    "cut answers": (cut_answer, ("broken", "cut_answer")),
    "lost calls": (lose_call, ("broken",)),
    "foreign tools": (foreign_tool, ("foreign_tool",)),
    "personal details": (personal_detail, ("personal",)),
}


def looked_at(rows: list[Row], folder: Path) -> dict[int, set[str]]:
    """The findings of each row of a file, by its number from 0; `personal` is one of them."""
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    auditor = Auditor()
    with changes_told_to(lambda *_: None):
        seen: list[Seen] = [auditor.look(row, 0) for row in described(file).rows]
    judged = judge([each.facts for each in seen], REJECTED, {})
    found: dict[int, set[str]] = defaultdict(set)
    for finding, told in judged.findings.items():
        for facts, _ in told:
            found[number_of(facts.id)].add(finding)
    for each in seen:
        if each.personal:
            found[number_of(each.facts.id)].add("personal")
    return found


def number_of(row_id: str) -> int:
    return int(place_of(row_id).rpartition(":")[2]) - 1


def plant(clean: list[Row], fault: str, count: int, chance: random.Random) -> tuple[list[Row], set[int]]:
    """Rows of which as many as wanted, or as can, have the fault; their numbers."""
    rows, planted = copy.deepcopy(clean), set[int]()
    for number in chance.sample(range(len(rows)), len(rows)):
        if len(planted) == count:
            break
        row = FAULTS[fault][0](copy.deepcopy(rows[number]), chance)
        if row is not None:
            rows[number] = row
            planted.add(number)
    return rows, planted


def table(clean: list[Row], count: int, folder: Path, seed: int = 0) -> dict[str, dict[str, Any]]:
    """For each fault: how many were planted and found, and how many rows without it have its findings."""
    before = looked_at(clean, folder)
    result = {}
    for fault, (_, findings) in FAULTS.items():
        rows, planted = plant(clean, fault, count, random.Random(f"{seed} {fault}"))
        found = looked_at(rows, folder)
        hits = {number for number in planted if found[number] & {*findings}}
        alarms = {number for number in range(len(rows)) if number not in planted and found[number] & {*findings}}
        result[fault] = {
            "planted": len(planted),
            "found": len(hits),
            "share": len(hits) / len(planted),
            "false_alarms": len(alarms),
            "false_share": len(alarms) / (len(rows) - len(planted)),
            "on_clean_files": sum(bool(before[number] & {*findings}) for number in range(len(clean))) / len(clean),
        }
    return result


def real_rows(data: Path, count: int) -> list[Row]:
    """Clean rows: traces of an ordering agent, and When2Call's conversations in the same layout."""
    with (data / "traces" / "taskmaster4.openai.jsonl").open() as file:
        rows = [json.loads(line) for line in islice(file, count)]
    with (data / "when2call" / "train_sft.jsonl").open() as file:
        return rows + [in_openai_layout(json.loads(line)) for line in islice(file, count)]


def in_openai_layout(row: Row) -> Row:
    """One of When2Call's rows, with its calls beside the text."""
    messages = []
    for message in row["messages"]:
        text = message["content"]
        if message["role"] == "assistant" and text.startswith("<TOOLCALL>"):
            calls = json.loads(text.removeprefix("<TOOLCALL>").removesuffix("</TOOLCALL>"))
            message = {"role": "assistant", "content": None, "tool_calls": [as_call(call) for call in calls]}
        messages.append(message)
    tools = [json.loads(tool) if isinstance(tool, str) else tool for tool in row["tools"]]
    return {"messages": messages, "tools": [{"type": "function", "function": tool} for tool in tools]}


def as_call(call: dict[str, Any], number: int = 1) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
    return {"id": f"call_{number}", "type": "function", "function": function}


def made_rows(count: int) -> list[Row]:
    """Clean rows of calculated words, half of them traces with three calls in turn, half questions with an answer."""
    return [row for number in range(count) for row in (made_trace(number), made_question(number))]


TOWNS = ("Ulm", "Bonn", "Kiel", "Rome", "Lyon", "Oslo", "Bern", "Graz")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name}.",
            "parameters": {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]},
        },
    }
    for name, key in (("find_town", "name"), ("get_weather", "town_id"), ("book_room", "town_id"))
]


def made_trace(number: int) -> Row:
    town = f"{TOWNS[number % len(TOWNS)]} {number}"
    place = f"town-{number:04d}"
    turns = (
        ({"name": "find_town", "arguments": {"name": town}}, {"towns": [{"id": place, "name": town}]}),
        ({"name": "get_weather", "arguments": {"town_id": place}}, {"degrees": number % 30, "sky": "clear"}),
        ({"name": "book_room", "arguments": {"town_id": place}}, {"booking_id": f"b{number}", "nights": 1}),
    )
    messages: list[Row] = [{"role": "user", "content": f"Book me a room in {town} if the weather is fine there."}]
    for step, (call, result) in enumerate(turns):
        messages.append({"role": "assistant", "content": None, "tool_calls": [as_call(call, step)]})
        messages.append({"role": "tool", "tool_call_id": f"call_{step}", "content": json.dumps(result)})
    messages.append(
        {"role": "assistant", "content": f"The weather in {town} is fine, so your room is booked for one night."}
    )
    return {"messages": messages, "tools": TOOLS}


def made_question(number: int) -> Row:
    town = f"{TOWNS[number % len(TOWNS)]} {number}"
    answers = (
        f"Which town near {town} do you mean? There are several of that name in the country.",
        f"I'm sorry, I can't tell you who founded {town} with the tools that I have at hand.",
    )
    messages = [
        {"role": "user", "content": f"Tell me more about {town}, please, number {number}."},
        {"role": "assistant", "content": answers[number % 2]},
    ]
    return {"messages": messages, "tools": TOOLS}


def rows_by_name(data: Path | None, count: int) -> Iterator[tuple[str, list[Row]]]:
    if data is not None and (data / "traces").is_dir():
        yield "real rows", real_rows(data, count)
    yield "made-up rows", made_rows(count // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rows", type=int, default=2400, help="clean rows of each kind")
    shared = os.environ.get("CALLTUNE_SHARED_DATA")
    parser.add_argument("--data", type=Path, default=Path(shared) if shared else None)
    options = parser.parse_args()
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, clean in rows_by_name(options.data, options.rows):
            told[name] = table(clean, options.count, Path(folder))
            print(f"{name}: {len(clean):,}")
            for fault, row in told[name].items():
                print(
                    f"  {fault:17} planted {row['planted']:4} found {row['found']:4} ({row['share']:.1%}), false "
                    f"alarms {row['false_alarms']:3} ({row['false_share']:.2%}), on clean files "
                    f"{row['on_clean_files']:.2%}"
                )
    json.dump(told, sys.stdout, allow_nan=False)
    print()


if __name__ == "__main__":
    main()

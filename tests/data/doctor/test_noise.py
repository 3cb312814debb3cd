"""What production traces tell against their answers, and what they do not."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from calltune.cli import main
from calltune.config.data import REJECTED
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.facts import Examiner, Facts
from calltune.data.doctor.noise import is_error
from calltune.data.doctor.verdicts import judge
from calltune.data.sources import auto


def tool(name: str, argument: str = "city") -> dict[str, Any]:
    schema = {"type": "object", "properties": {argument: {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": f"{name}.", "parameters": schema}}


TOOLS = [tool("find_weather"), tool("find_time"), tool("book", "table")]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(*named: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    made = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for n, (name, arguments) in enumerate(named)
    ]
    return {"role": "assistant", "content": None, "tool_calls": made}


def gives(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "tool", "tool_call_id": f"c{n}", "content": text} for n, text in enumerate(texts)]


def look(folder: Path, *conversations: Sequence[Any]) -> list[Facts]:
    """The facts of all answers of conversations, judged as `prepare` does by default."""
    file = folder / "rows.jsonl"
    rows = []
    for conversation in conversations:
        flat = [m for part in conversation for m in (part if isinstance(part, list) else [part])]
        rows.append(json.dumps({"messages": flat, "tools": TOOLS}))
    file.write_text("\n".join(rows))
    examiner = Examiner(None, AskedQuestions())
    facts = [examiner.look(row, 0)[0] for row in auto.read(auto.Settings(path=str(file)))]
    judge(facts, REJECTED, {})
    return facts


def found(folder: Path, *conversations: Sequence[Any]) -> list[list[str]]:
    return [[finding for finding, _ in facts.problems] for facts in look(folder, *conversations)]


ASK = user("What is the weather in Ulm?")
WEATHER = ("find_weather", {"city": "Ulm"})
TIME = ("find_time", {"city": "Bonn"})


def test_a_failed_attempt_is_context_and_never_a_lesson(tmp_path: Path) -> None:
    error = '{"error": "no such city"}'
    attempt, again, last = look(
        tmp_path,
        [ASK, calls(("find_weather", {"city": "Ulmm"})), gives(error), calls(WEATHER), gives('{"c": 20}'), says("20.")],
    )
    assert attempt.verdict == (
        "retried_call",
        "the result of 'find_weather' is '{\"error\": \"no such city\"}', and the next answer calls it again",
    )
    assert (again.verdict, last.verdict) == (None, None)


def test_a_call_that_fails_and_is_not_tried_again(tmp_path: Path) -> None:
    assert found(tmp_path, [ASK, calls(WEATHER, TIME), gives("20 degrees", "Error: timed out"), says("Sorry.")]) == [
        ["failed_call"],
        [],
    ]


def test_what_follows_the_last_answer_counts(tmp_path: Path) -> None:
    assert found(tmp_path, [ASK, calls(WEATHER), gives("Traceback (most recent call last): ...")]) == [["failed_call"]]


def test_a_log_that_repeats_its_history_teaches_no_failed_attempt_in_an_earlier_row(tmp_path: Path) -> None:
    """The first row ends at the call; only the second one holds what came of it."""
    rows = look(tmp_path, [ASK, calls(WEATHER)], [ASK, calls(WEATHER), gives("Error: no such city"), says("Sorry.")])
    assert [facts.verdict and facts.verdict[0] for facts in rows] == ["failed_call", "failed_call", None]


@pytest.mark.parametrize(
    "text",
    [
        '{"error": "not found"}',
        '{"errors": [{"message": "bad"}], "data": null}',
        '{"success": false, "id": 3}',
        '{"status": "error", "message": "no"}',
        '{"status": "failed", "reason": "no seats"}',
        '{"statusCode": 503}',
        '{"code": 404, "message": "Not Found"}',
        '{"isError": true, "content": []}',
        '[{"error": "x"}]',
        '{"detail": "Error: no"}',
        "Error: Invalid city",
        "ValueError: could not convert",
        "An unexpected error occurred.",
        "Error executing tool find_weather: 1 validation error",
        "HTTP 500 Internal Server Error",
        "404 Not Found",
        "Tool find_weather failed: timeout",
        "Failed to connect",
        "Invalid argument: city",
        "Permission denied",
        "Request timed out",
    ],
)
def test_errors(text: str) -> None:
    assert is_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20",
        '{"error": null, "data": 1}',
        '{"error": "", "ok": true}',
        '{"errors": []}',
        '{"error": 0.031, "slope": 1.2}',
        '{"job": "x", "status": "failed", "started": 3, "log": "..."}',
        '{"code": 404, "city": "Ulm"}',
        '{"results": [{"title": "Error handling in Python"}]}',
        "Errors and how to avoid them, a book",
        "The error rate is 3 %.",
        "Invalidenstrasse 4, Berlin",
        "No flights were found.",
        "500 grams of flour",
        "x" * 30_000,
    ],
)
def test_no_errors(text: str) -> None:
    assert not is_error(text)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("It is 20 degrees in Ulm.", "No, I meant Bonn."),
        ("Booked for two.", "That's wrong, there are three of us"),
        ("Booked for two.", "that is not what I asked for"),
        ("Booked for two. Anything else?", "You got the number wrong."),
        ("Booked for two.", "No, book for three"),
        ("Is there anything else?", "I said Bonn, not Ulm"),
        ("The weather in Ulm is fine. Is that all?", "not ulm, bonn please"),
        ("It is 20 degrees.", "I didn't ask for that."),
        ("It is 20 degrees.", "wrong city"),
    ],
)
def test_the_user_says_that_it_is_wrong(tmp_path: Path, answer: str, reply: str) -> None:
    conversation = [ASK, calls(WEATHER), gives("20"), says(answer), user(reply), says("I see.")]
    assert found(tmp_path, conversation) == [["corrected_answer"], ["corrected_answer"], []]


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("Is there anything else?", "No, that's all."),
        ("It is 20 degrees.", "No thanks, that's all"),
        ("Would you like a table?", "No, a room."),
        ("It is 20 degrees.", "Thanks! And in Bonn?"),
        ("It is 20 degrees.", "What went wrong with the forecast yesterday?"),
        ("It is 20 degrees.", "Not bad. And tomorrow?"),
        ("Please confirm the order.", "No, make it a decaf"),
    ],
)
def test_the_user_goes_on(tmp_path: Path, answer: str, reply: str) -> None:
    conversation = [ASK, calls(WEATHER), gives("20"), says(answer), user(reply), says("I see.")]
    assert found(tmp_path, conversation) == [[], [], []]


def test_the_same_call_again(tmp_path: Path) -> None:
    loop = [ASK, calls(WEATHER), gives("20"), calls(WEATHER), gives("20"), says("20.")]
    assert found(tmp_path, loop) == [[], ["repeated_call"], []]
    assert found(tmp_path, [ASK, calls(WEATHER, WEATHER), gives("20", "20")]) == [["repeated_call"]]
    later = [ASK, calls(WEATHER), gives("20"), says("20."), user("And now?"), calls(WEATHER), gives("21")]
    assert found(tmp_path, later) == [[], [], []]


def test_a_tool_that_is_not_offered(tmp_path: Path) -> None:
    (facts,) = look(tmp_path, [ASK, calls(("find_wether", {"city": "Ulm"}))])
    reason = "it calls 'find_wether', but the 3 tools that are offered have another name"
    assert facts.verdict == ("foreign_tool", reason)


ULM, BONN = '{"city": "Ulm", "degrees": 20}', '{"city": "Bonn", "degrees": 25}'
BOTH = (WEATHER, ("find_weather", {"city": "Bonn"}))


@pytest.mark.parametrize(("results", "is_swapped"), [((ULM, BONN), False), ((BONN, ULM), True), (("1", BONN), False)])
def test_results_that_name_each_other_s_values(tmp_path: Path, results: tuple[str, str], is_swapped: bool) -> None:
    at_once = [ASK, calls(*BOTH), gives(*results), says("Done.")]
    in_turn = [ASK, calls(BOTH[0]), gives(results[0]), calls(BOTH[1]), gives(results[1]), says("Done.")]
    expected = ["swapped_result"] if is_swapped else []
    assert found(tmp_path, at_once) == [expected, expected]
    # The first of them was made before the other was known.
    assert found(tmp_path, in_turn)[1:] == [expected, expected]


def test_what_a_call_takes_from_an_earlier_result_is_no_sign(tmp_path: Path) -> None:
    listed = '{"id": "latte-0215", "size": "m"}'
    row = [ASK, calls(("find_time", {"city": "x"})), gives(listed), calls(("book", {"table": "latte-0215"}))]
    assert found(tmp_path, [*row, gives('{"ok": true}'), says("Done.")]) == [[], [], []]


def test_results_that_have_the_keys_of_another_tool(tmp_path: Path) -> None:
    def conversation(number: int, *, is_swapped: bool) -> list[Any]:
        results = [f'{{"degrees": {number}}}', f'{{"hour": {number}, "minute": 0}}']
        first, second = reversed(results) if is_swapped else results
        question = user(f"Weather and time in town {number}?")
        return [
            question,
            calls(("find_weather", {})),
            gives(first),
            calls(("find_time", {})),
            gives(second),
            says("So."),
        ]

    facts = look(tmp_path, *(conversation(n, is_swapped=n % 5 == 0) for n in range(40)))
    judged = judge(facts, (), {})
    told = {row.id.split("#")[0] for row, _ in judged.findings["swapped_result"]}
    assert told == {row.id.split("#")[0] for n, row in enumerate(facts) if n // 3 % 5 == 0}


def test_cut_texts(tmp_path: Path) -> None:
    whole = "The order for number {n} was sent to the coffee bar. It will be ready in ten minutes."
    rows = [[user(f"Order {n}?"), says(whole.format(n=n))] for n in range(60)]
    cuts = [
        "The order for number 7 was sent to the cof",
        "It will be rea",
        "It was sent to the",
        '{"order": [{"id": 4}, {"i',
    ]
    fine = ["The order for number 5 will be ready in ten minutes", "It costs 12", "- latte\n- mocha"]
    facts = look(tmp_path, *rows, *([user(f"What of {text}?"), says(text)] for text in (*cuts, *fine)))
    told = {row.id for row, _ in judge(facts, (), {}).findings["cut_answer"]}
    assert told == {row.id for row in facts[60:64]}


def test_a_source_without_full_stops_is_not_judged_by_them(tmp_path: Path) -> None:
    rows = [[user(f"Order {n}?"), says(f"order {n} is on its way to x{chr(97 + n % 26)}")] for n in range(60)]
    assert not judge(look(tmp_path, *rows), (), {}).findings["cut_answer"]


def test_the_run_file_says_what_is_left_out(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        [ASK, calls(WEATHER), gives("Error: no"), says("Sorry, I can't find it.")],
        [user("Time?"), calls(TIME), gives("12"), calls(TIME), gives("12"), says("12.")],
    ]
    look(tmp_path, *rows)
    file = tmp_path / "run.toml"
    file.write_text(
        f'name = "r"\nmodel = "{tiny_model}"\noutput = "{tmp_path}/runs"\nstages = ["sft"]\n[data]\n'
        f'validation_fraction = 0.0\n[[data.sources]]\nname = "auto"\npath = "{tmp_path}/rows.jsonl"\n'
    )
    kept = {}
    for reject in (None, ["repeated_call"], []):
        assert main(["prepare", str(file), *([f"data.reject={json.dumps(reject)}"] if reject is not None else [])]) == 0
        ids = [json.loads(line)["id"] for line in (tmp_path / "runs/r/data/train.jsonl").read_text().splitlines()]
        kept[repr(reject)] = sorted(row_id.rpartition(":")[2] for row_id in ids)
    shown = capsys.readouterr().out
    assert kept == {
        "None": ["1#2", "2#1", "2#2", "2#3"],
        "['repeated_call']": ["1#1", "1#2", "2#1", "2#3"],
        "[]": ["1#1", "1#2", "2#1", "2#2", "2#3"],
    }
    assert "1 row rejected, the call's result is an error (failed_call), 20.0% of all: " in shown
    assert "1 row kept, the same call as before (repeated_call), 20.0% of all: " in shown
    told = json.loads((tmp_path / "runs/r/data/doctor.json").read_text())
    assert told["findings"]["failed_call"]["share"] == 0.2

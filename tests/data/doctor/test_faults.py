"""One planted fault each: the one line that a user needs, and where the row went."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from calltune.cli import main
from calltune.data.rows import read_examples

ANSWERS = {
    "tool_call": '<TOOLCALL>[{"name": "find_city", "arguments": {"name": "Ulm"}}]</TOOLCALL>',
    "request_for_info": "Which city do you mean?",
    "cannot_answer": "I'm sorry, I can't do that with the tools I have.",
}
FIND = {
    "name": "find_city",
    "description": "Find a city.",
    "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
}
PAY = {
    "name": "pay_bill",
    "description": "Pay a bill.",
    "parameters": {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]},
}


def row(question: str, answer: str, *tools: dict) -> dict:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"tools": list(tools or (FIND, PAY)), "messages": messages}


def call(name: str, arguments: dict) -> str:
    return f"<TOOLCALL>[{json.dumps({'name': name, 'arguments': arguments})}]</TOOLCALL>"


GOOD = [row(f"Where is the town number {n} of {word}?", ANSWERS[word]) for n in range(3) for word in ANSWERS]
QUESTION = {
    "uuid": "w2c-1",
    "question": "Could you find the old town hall of the city of Ulm for me, please?",
    "correct_answer": "tool_call",
    "answers": {
        "direct": "It is in the middle.",
        "tool_call": json.dumps({"name": "find_city", "arguments": {"name": "Ulm"}}),
        "request_for_info": "Which city?",
        "cannot_answer": "I can't.",
    },
    "tools": [json.dumps(FIND)],
}


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Write rows and a run file, run a verb over them; its exit code and all that it printed."""

    def go(rows: list[Any], *overrides: str, verb: str = "prepare", model: Path = tiny_model) -> tuple[int, str]:
        data, questions, file = tmp_path / "train_sft.jsonl", tmp_path / "questions.jsonl", tmp_path / "run.toml"
        data.write_text("\n".join(map(json.dumps, rows)))
        questions.write_text(json.dumps(QUESTION))
        file.write_text(
            f'name = "r"\nmodel = "{model}"\noutput = "{tmp_path}/runs"\nstages = ["sft"]\n[data]\n'
            f'validation_fraction = 0.0\n[[data.sources]]\nname = "when2call"\npath = "{data}"\nsplit = "train_sft"\n'
            f'[[evaluate.benchmarks]]\nname = "when2call"\npath = "{questions}"\n'
        )
        code = main([verb, str(file), *overrides])
        shown = capsys.readouterr()
        # A row's id is its file and line.
        return code, (shown.out + shown.err).replace(str(data), "train_sft")

    return go


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r" / "data"


def rejected(data: Path) -> list[tuple[str, str]]:
    path = str(data.parents[2] / "train_sft.jsonl")
    return [(row["id"].replace(path, "train_sft"), row["finding"]) for row in lines(data / "rejected.jsonl")]


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def arguments(data: Path, line: int) -> Mapping[str, Any]:
    (example,) = (e for e in read_examples(data / "train.jsonl") if e.id.endswith(f"train_sft.jsonl:{line}"))
    return example.messages[-1].tool_calls[0].arguments


def test_a_split_without_calls_stops(run: Callable[..., tuple[int, str]], data: Path) -> None:
    without = [r for r in GOOD if "TOOLCALL" not in r["messages"][-1]["content"]]
    line = (
        "calltune: sft: none of its rows shows tool_call, so it would teach never to call a tool; add rows that do, or "
        'set data.allow_missing = ["tool_call"]\n'
    )
    for verb in ("check", "prepare"):
        code, shown = run(without, verb=verb)
        assert (code, shown[-len(line) :]) == (2, line)
    assert not data.exists()
    assert run(without, 'data.allow_missing=["tool_call"]')[0] == 0


def test_a_measured_behaviour_that_is_not_taught_stops(run: Callable[..., tuple[int, str]]) -> None:
    only_calls = [r for r in GOOD if "TOOLCALL" in r["messages"][-1]["content"]]
    assert run(only_calls)[0] == 0
    QUESTION["correct_answer"] = "cannot_answer"
    code, shown = run(only_calls)
    QUESTION["correct_answer"] = "tool_call"
    assert code == 2
    assert "calltune: sft: none of its rows shows cannot_answer, so it would teach never to show cannot_answer" in shown


def test_null_padding(run: Callable[..., tuple[int, str]], data: Path) -> None:
    _, shown = run([*GOOD, row("Find Ulm.", call("find_city", {"name": "Ulm", "sum": None, "date": None}))])
    assert "null_argument 2" in shown
    assert rejected(data) == []
    assert arguments(data, 10) == {"name": "Ulm"}
    (change,) = (c for c in lines(data / "changes.jsonl") if ".jsonl:10" in c["where"])
    assert [c["path"].rpartition("/")[2] for c in change["changes"]] == ["sum", "date"]


def test_arguments_that_arrow_has_merged(run: Callable[..., tuple[int, str]], data: Path) -> None:
    import pyarrow

    merged = pyarrow.array([{"name": "Ulm"}, {"sum": 2.5}]).to_pylist()
    rows = [row("Find Ulm.", call("find_city", merged[0])), row("Pay 2.50.", call("pay_bill", merged[1]))]
    _, shown = run([*GOOD, *rows])
    assert "null_argument 2" in shown
    assert (arguments(data, 10), arguments(data, 11)) == ({"name": "Ulm"}, {"sum": 2.5})


def test_duplicated_rows(run: Callable[..., tuple[int, str]], data: Path) -> None:
    _, shown = run([*GOOD, GOOD[4]])
    assert "doctor: 1 row rejected, duplicate (duplicate): train_sft:10: the same as train_sft:5\n" in shown
    assert rejected(data) == [("train_sft:10", "duplicate")]


LONG = "Please be so kind as to find me the city in which the tallest of all church towers of this wide world stands"


@pytest.mark.parametrize("reject", [[], ["near_duplicate"]])
def test_nearly_duplicated_rows(run: Callable[..., tuple[int, str]], data: Path, reject: list[str]) -> None:
    rows = [row(text, ANSWERS["request_for_info"]) for text in (f"{LONG}.", f"{LONG}!?")]
    _, shown = run([*GOOD, *rows], f"data.reject={reject}")
    fate = "rejected" if reject else "kept"
    told = f"doctor: 1 row {fate}, nearly a duplicate (near_duplicate): train_sft:11: nearly the same as train_sft:10"
    assert f"{told}\n" in shown
    assert rejected(data) == [("train_sft:11", "near_duplicate")] * bool(reject)


@pytest.mark.parametrize("reject", [[], ["contradiction"]])
def test_contradicting_rows(run: Callable[..., tuple[int, str]], data: Path, reject: list[str]) -> None:
    rows = [row("Find Ulm.", ANSWERS["tool_call"]), row(" find ulm", ANSWERS["cannot_answer"], PAY, FIND)]
    _, shown = run([*GOOD, *rows], f"data.reject={reject}")
    assert (
        f"doctor: 2 rows {'rejected' if reject else 'kept'}, contradicts another row (contradiction): train_sft:10: "
        "tool_call here, cannot_answer in train_sft:11, to the same question, and 1 more\n" in shown
    )
    assert len(rejected(data)) == 2 * bool(reject)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("could you find the old town hall of the city of ulm for me please", "asks w2c-1 of when2call"),
        (
            "Hello! Could you find the old town hall of the city of Ulm?",
            "shares 5 of 8 runs of 8 words with w2c-1 of when2call",
        ),
    ],
)
def test_a_contaminated_row(run: Callable[..., tuple[int, str]], data: Path, question: str, reason: str) -> None:
    _, shown = run([*GOOD, row(question, ANSWERS["tool_call"])])
    assert f"doctor: 1 row rejected, a benchmark asks it too (contamination): train_sft:10: {reason}\n" in shown
    assert rejected(data) == [("train_sft:10", "contamination")]


def test_a_call_that_breaks_its_schema(run: Callable[..., tuple[int, str]], data: Path) -> None:
    broken = row("Pay it.", call("pay_bill", {"sum": "much"}))
    _, shown = run([*GOOD, broken])
    assert (
        "doctor: 1 row rejected, the call breaks its own tool's schema (invalid_call): train_sft:10: 'pay_bill' sum: "
        "'much' is not of type 'number'\n" in shown
    )
    assert rejected(data) == [("train_sft:10", "invalid_call")]
    _, shown = run([*GOOD, broken], "data.reject=[]")
    assert "doctor: 1 row kept, the call breaks its own tool's schema" in shown
    assert rejected(data) == []


def test_rows_of_which_none_can_be_kept_stop(run: Callable[..., tuple[int, str]], data: Path) -> None:
    code, shown = run([row("Pay it.", call("pay_bill", {"sum": "much"}))])
    assert code == 2
    assert shown.endswith(
        "calltune: all 1 rows are rejected; the first, train_sft:1: 'pay_bill' sum: 'much' is not of type 'number'\n"
    )
    assert not data.exists()


def test_a_call_cut_by_max_length(run: Callable[..., tuple[int, str]], data: Path) -> None:
    long = row("Find it.", call("find_city", {"name": "Ulm " * 200}))
    code, shown = run([*GOOD, long], "sft.max_length=400", verb="check")
    assert code == 0
    line = next(line for line in shown.splitlines() if "exceed" in line)
    found = re.fullmatch(
        r"doctor: sft: 1 of 10 rows exceed max_length = 400 and will be left out whole \(train_sft:10, ...\); cut, 1 "
        r"would lose tokens of a call; sft.max_length = (\d+) keeps all",
        line,
    )
    assert found
    _, shown = run([*GOOD, long], f"sft.max_length={found[1]}", verb="check")
    assert "exceed" not in shown


def test_a_template_without_tools(run: Callable[..., tuple[int, str]], tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "chat_template.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    for verb in ("check", "prepare"):
        code, shown = run(GOOD, model=model, verb=verb)
        assert code == 2
        assert shown.endswith(
            f"calltune: model '{model}': its chat template leaves out the tools; "
            'chat_template = "hermes" writes them, between the marks of turns that it has\n'
        )


@pytest.mark.parametrize(
    ("name", "note"), [("last_result", "changes the prompt once"), ("functionary", "takes a call's")]
)
def test_a_template_with_a_way_of_its_own(
    run: Callable[..., tuple[int, str]], tiny_model: Path, name: str, note: str
) -> None:
    template = Path(__file__).parents[2] / "material" / "templates" / f"{name}.jinja"
    code, shown = run(GOOD, f"chat_template={template}", model=tiny_model, verb="prepare")
    assert code == 0
    assert shown.count(f"doctor: the chat template {note}") == 1


@pytest.mark.parametrize(
    ("answer", "finding", "reason"),
    [
        ("Sure. <|im_end|>", "template", "its text holds '<|im_end|>', which this model reads as control, not as text"),
        ("Sure. <tool_call>", "broken", "messages[1]: a call opened at character 6 is not closed"),
        ("  ", "broken", "message 1: the answer has neither text nor calls"),
        ("half \ud83d of it", "broken", "half of a surrogate pair, \\ud83d, is no text"),
        (call("find_city", {"name": "Ulm", "n": 2**70}), "broken", f"holds {2**70}, more than 64 bits"),
        (call("find_city", {"n": float("nan")}), "broken", "messages[1]: <TOOLCALL>: not valid JSON: NaN is no number"),
        (call("find_city", {"n": json.loads("[" * 40 + "]" * 40)}), "broken", "holds values nested more than 32 deep"),
    ],
)
def test_rows_that_cannot_be_taught_as_they_stand(
    run: Callable[..., tuple[int, str]], data: Path, answer: str, finding: str, reason: str
) -> None:
    _, shown = run([*GOOD, row("Well?", answer)])
    assert f"({finding}): train_sft:10: {reason}" in shown
    (kept,) = lines(data / "rejected.jsonl")
    assert kept["reason"].startswith(reason)
    assert kept["id"].endswith("train_sft.jsonl:10")
    assert len(read_examples(data / "train.jsonl")) == 9


def test_a_tool_that_gives_the_behaviour_away(run: Callable[..., tuple[int, str]]) -> None:
    rows = [row(f"Question {n}?", ANSWERS["cannot_answer"], PAY) for n in range(12)]
    rows += [row(f"Question {n}!!", ANSWERS["tool_call"], FIND) for n in range(12)]
    _, shown = run(rows, "data.allow_missing=['request_for_info']")
    assert (
        "doctor: 2 of 2 tools offered often go with one behaviour only, which gives it away: 'find_city' with "
        "tool_call\n"
        "doctor: without the question, a row's tools tell its behaviour in 100.0% of rows (always the most frequent: "
        "50.0%)\n" in shown
    )


def test_check_reads_all_and_writes_nothing(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    _, shown = run([*GOOD, GOOD[0]], verb="check")
    assert "INFO: 1 questions of 1 benchmarks can be read" in shown
    assert "doctor: 10 rows read, 9 kept, 1 rejected" in shown
    assert not (tmp_path / "runs").exists()


def test_shown_rows_end_with_what_is_trained_on(
    run: Callable[..., tuple[int, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(GOOD, verb="check")
    main(["check", "--show", "2", str(tmp_path / "run.toml")])
    shown = capsys.readouterr().out
    assert f"--- when2call {tmp_path}/train_sft.jsonl:1 (tool_call)\n<|im_start|>" in shown
    assert shown.count(">>>") == shown.count("<<<") == 3, "two rows, and the line that says what the marks mean"
    assert '>>><tool_call>\n{"name": "find_city", "arguments": {"name": "Ulm"}}\n</tool_call><|im_end|><<<\n' in shown
    assert ">>>Which city do you mean?<|im_end|><<<\n" in shown

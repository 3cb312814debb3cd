"""Files of an unknown layout: what they are is said, and they are read as by the source of that layout."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from layout_rows import CALL, FILES, GLAIVE, PAIR, PREFERENCE, SHAREGPT, SPAN, WHEN2CALL
from rows_of import TOOL, assistant, call, read, user
from telemetry_rows import OBSERVED, SPANS

from calltune.calling.edits import changes_told_to
from calltune.data.sources import auto, chat_jsonl, openai_traces, sharegpt, when2call, xlam
from calltune.errors import DataError
from calltune.types import Example, Rejected

TRACES = Path(__file__).parents[2] / "material" / "traces"
CASES = sorted(path for path in TRACES.iterdir() if path.name != "agents")
CHAT = {"messages": [user(), assistant(None, tool_calls=[call("x")])], "tools": [TOOL]}
XLAM = {"query": "q", "tools": [TOOL], "answers": [CALL]}
COMPLETION = {"prompt": [user()], "completion": [assistant()], "tools": [TOOL]}
WHEN2CALL_PAIR = {
    **{"tools": [TOOL["function"]], "messages": [user()]},
    **{"chosen_response": assistant("yes"), "rejected_response": assistant("no")},
}
LLAMA_PAIR = {
    "conversations": [{"from": "human", "value": "q"}],
    "chosen": {"from": "gpt", "value": "a"},
    "rejected": {"from": "gpt", "value": "b"},
}
LAYOUTS: dict[str, tuple[ModuleType, dict[str, Any], dict[str, Any]]] = {
    "a chat's messages": (openai_traces, CHAT, {}),
    "a request and its answer": (openai_traces, {"request": {"messages": [user()]}, "response": assistant()}, {}),
    "OpenAI's layout of preferences": (openai_traces, PREFERENCE, {}),
    "an MLflow trace": (openai_traces, {"info": {}, "data": {"spans": [{"name": "s", "attributes": SPAN}]}}, {}),
    "a span of OpenTelemetry": (openai_traces, SPANS["the protocol"], {}),
    "an observation of Langfuse": (openai_traces, OBSERVED["a trace of Langfuse"], {}),
    "a run of LangSmith": (openai_traces, OBSERVED["a run of LangSmith"], {}),
    "a span of OpenAI's Agents SDK": (openai_traces, OBSERVED["a span of the Agents SDK"], {}),
    "xLAM's layout": (xlam, XLAM, {}),
    "ShareGPT's layout": (sharegpt, SHAREGPT, {}),
    "LLaMA-Factory's pair": (sharegpt, LLAMA_PAIR, {}),
    "Glaive's layout": (sharegpt, GLAIVE, {}),
    "TRL's layout": (chat_jsonl, COMPLETION, {}),
    "a pair": (chat_jsonl, PAIR, {}),
    "When2Call's layout": (when2call, WHEN2CALL_PAIR, {"split": "train_pref"}),
}


def case_source(path: Path) -> ModuleType:
    if path.name[:2] in ("02", "04", "12", "27", "44"):
        return sharegpt
    return chat_jsonl if path.name[:2] in ("16", "45") else openai_traces


@pytest.mark.parametrize("turns", ["all", "last"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_real_cases_are_read_to_the_letter_as_by_the_named_source(path: Path, turns: Any) -> None:
    source, told = case_source(path), dict[str, list[Any]]()
    nouns = {}
    for module in (auto, source):
        changes = told.setdefault(module.__name__, [])
        with changes_told_to(lambda *change, heard=changes: heard.append(change)):
            nouns[module.__name__] = list(module.read(module.Settings(path=str(path), turns=turns)))
    assert nouns[auto.__name__] == nouns[source.__name__] != []
    assert told[auto.__name__] == told[source.__name__]


@pytest.mark.parametrize("title", LAYOUTS)
def test_every_layout_is_known_and_read_as_by_its_source(
    tmp_path: Path, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, row, keys = LAYOUTS[title]
    file = tmp_path / "rows.jsonl"
    named = read(source, file, [row, row], **keys)
    assert read(auto, file, [row, row]) == named
    assert not any(isinstance(noun, Rejected) for noun in named)
    name = source.__name__.rpartition(".")[2]
    assert capsys.readouterr().out == f'{file}: {title} (sure: 2 of its 2 rows); read with name = "{name}"\n'


@pytest.mark.parametrize("number", [n for n, (source, _, _) in enumerate(FILES) if source not in (auto, when2call)])
def test_every_row_that_a_source_reads_is_read(tmp_path: Path, number: int) -> None:
    source, rows, keys = FILES[number]
    for row in rows:
        named = read(source, tmp_path / "rows.jsonl", [row], **keys)
        found = read(auto, tmp_path / "rows.jsonl", [row])
        assert [noun.id for noun in found] == [noun.id for noun in named]
        assert not any(isinstance(noun, Rejected) for noun in found)


def test_when2call_s_single_answers_give_the_same_lessons(tmp_path: Path) -> None:
    rows = [WHEN2CALL, {"tools": [json.dumps(TOOL["function"])], "messages": [user(), assistant("Which one?")]}]
    lessons = []
    for source, keys in ((auto, {}), (when2call, {"split": "train_sft"})):
        nouns = read(source, tmp_path / "rows.jsonl", rows, **keys)
        lessons.append([(n.messages, n.tools, n.behavior) for n in nouns if isinstance(n, Example)])
    assert lessons[0] == lessons[1]
    assert len(lessons[0]) == 2


def test_the_benchmark_s_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="worthless"):
        read(auto, tmp_path / "t.jsonl", [{"question": "q", "correct_answer": "direct", "answers": {}, "tools": []}])


FOREIGN = [
    (source, title)
    for source in (openai_traces, chat_jsonl, sharegpt, xlam, when2call)
    for title, (own, _, _) in LAYOUTS.items()
    if own is not source and (source, title) not in ((chat_jsonl, "a chat's messages"), (openai_traces, "a pair"))
    if (source, title) != (chat_jsonl, "a request and its answer")
]


@pytest.mark.parametrize(("source", "title"), FOREIGN)
def test_a_named_source_names_the_layout_of_another(tmp_path: Path, source: ModuleType, title: str) -> None:
    own, row, _ = LAYOUTS[title]
    (noun,) = read(source, tmp_path / "rows.jsonl", [row], **({"split": "train_sft"} if source is when2call else {}))
    assert isinstance(noun, Rejected)
    assert noun.reason.endswith(f'read it with name = "{own.__name__.rpartition(".")[2]}"')
    assert len(noun.reason.splitlines()) == 1


def test_mixed_files_are_told_with_counts_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    nouns = read(auto, file, [CHAT, SHAREGPT, CHAT, "7", CHAT, {"a": 1}])
    assert [type(noun).__name__ for noun in nouns] == [
        "Example",
        "Rejected",
        "Example",
        "Rejected",
        "Example",
        "Rejected",
    ]
    assert "this is ShareGPT's layout" in nouns[1].reason if isinstance(nouns[1], Rejected) else False
    first, warning = capsys.readouterr().out.splitlines()
    assert first == (
        f"{file}: several layouts: 3 of a chat's messages, 1 of ShareGPT's layout, 1 of no known layout, "
        '1 of no JSON object (a guess: 3 of its 6 rows); read with name = "openai_traces"'
    )
    assert warning == (
        f'warning: {file}: rows that name = "openai_traces" does not read, and are rejected: 1 of ShareGPT\'s layout, '
        "1 of no known layout"
    )


def test_a_source_that_reads_both_layouts_of_a_file_reads_it(tmp_path: Path) -> None:
    nouns = read(auto, tmp_path / "rows.jsonl", [CHAT, CHAT, COMPLETION])
    assert [(type(noun).__name__, noun.source) for noun in nouns] == [("Example", "chat_jsonl")] * 3


def test_rows_behind_the_first_fifty_are_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    nouns = read(auto, file, [*[XLAM] * 50, *[CHAT] * 60])
    assert [isinstance(noun, Rejected) for noun in nouns] == [False] * 50 + [True] * 60
    assert capsys.readouterr().out.splitlines() == [
        f'{file}: xLAM\'s layout (sure: 50 of the first 50 rows); read with name = "xlam"',
        f'warning: {file}: rows that name = "xlam" does not read, and are rejected: 60 of a chat\'s messages',
    ]


def test_a_folder_of_several_layouts_with_its_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, row in (("a.jsonl", {"messages": CHAT["messages"]}), ("b.jsonl", {**SHAREGPT, "tools": None})):
        (tmp_path / name).write_text(json.dumps(row))
    (tmp_path / "tools.json").write_text(json.dumps([TOOL]))
    nouns = list(auto.read(auto.Settings(path=str(tmp_path), tools=str(tmp_path / "tools.json"), turns="last")))
    assert [(noun.source, len(noun.tools)) for noun in nouns if isinstance(noun, Example)] == [
        ("openai_traces", 1),
        ("sharegpt", 0),
    ]
    assert capsys.readouterr().out.splitlines()[1].endswith("read with name = \"sharegpt\", without 'tools'")


def test_many_files_share_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(30):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(CHAT if number % 3 else SHAREGPT))
    (tmp_path / "mixed.jsonl").write_text(json.dumps(CHAT) + "\n" + json.dumps(XLAM))
    assert len(list(auto.read(auto.Settings(path=str(tmp_path))))) > 30
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(f"{tmp_path}") for line in lines[:3]] == [
        "/mixed.jsonl: several layouts: 1 of a chat's messages, 1 of xLAM's layout (a guess: 1 of its 2 rows); "
        'read with name = "openai_traces"',
        ': 10 files: ShareGPT\'s layout (sure); read with name = "sharegpt"',
        ': 20 files: a chat\'s messages (sure); read with name = "openai_traces"',
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"a": 1, "b": 2}, {"c": 3}],
            "its layout is not known: the keys of its rows are 'a, b, c'; docs/data-formats.md",
        ),
        ([{}], "its layout is not known: the keys of its rows are 'none'"),
        (
            [{"message_id": 0, "message": {}}],
            "its layout is not known: this is a message of a session of Strands: name",
        ),
        (
            [{"instruction": "i", "output": "o"}],
            "its layout is not known: this is Alpaca's layout, which holds no tools",
        ),
        (["7", "8"], "1: a JSON object was expected, not int (and none of the first 2 rows is an object)"),
    ],
)
def test_a_file_that_nobody_knows_is_one_line(tmp_path: Path, rows: list[Any], message: str) -> None:
    (tmp_path / "known.jsonl").write_text(json.dumps(CHAT))
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    with pytest.raises(DataError) as caught:
        list(auto.read(auto.Settings(path=str(tmp_path))))
    assert str(caught.value).startswith(f"{file}:")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_its_fingerprint_is_that_of_the_files(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(CHAT))
    settings = auto.Settings(path=str(file))
    before = auto.fingerprint(settings)
    assert before == openai_traces.fingerprint(openai_traces.Settings(path=str(file)))
    file.write_text(json.dumps(SHAREGPT))
    assert auto.fingerprint(settings) != before
    assert list(auto.questions(settings)) == []

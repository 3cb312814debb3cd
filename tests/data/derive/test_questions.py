import json
from collections import Counter
from pathlib import Path

import pytest
from toy_calls import ALL, call, log, row, user

from calltune.calling.behavior import text_behavior
from calltune.config.data import DeriveConfig
from calltune.data.derive import derive, questions
from calltune.errors import ConfigError, DataError
from calltune.evaluation.benchmarks import when2call, when2call_generation
from calltune.evaluation.benchmarks.when2call_rows import QuestionSettings
from calltune.evaluation.benchmarks.when2call_rows import questions as read_questions
from calltune.files.json_lines import write_jsonl
from calltune.types import BEHAVIORS, Behavior, Example, Message

SETTINGS = DeriveConfig(request_for_info=1, cannot_answer=1, direct=1)
TALKS = [
    row(
        f"talk:{city}",
        user("I want to know the weather."),
        Message("assistant", "Where?"),
        user(f"I mean the weather in {city}."),
        call("get_weather", city=city),
    )
    for city in ("Nairobi", "Lagos", "Accra", "Cairo", "Dakar", "Tunis")
]
ROWS = [*log(24), *TALKS]
ASKED = list(questions(ROWS, SETTINGS, 0))


def test_the_benchmark_reads_them(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", ASKED)
    read = list(read_questions(QuestionSettings(path=str(tmp_path / "test.jsonl"))))
    assert len(read) == len(ASKED) >= 16
    assert Counter(question.correct for question in read) == dict.fromkeys(BEHAVIORS, len(ASKED) // 4)
    for question in read:
        for behavior in BEHAVIORS[:1] + BEHAVIORS[2:]:
            assert text_behavior(question.answers[behavior].content) == behavior
        offered = {tool.name for tool in question.tools}
        called = question.answers["tool_call"].tool_calls[0].name
        assert called in offered or question.correct in ("cannot_answer", "direct")


def test_a_conversation_keeps_its_messages(tmp_path: Path) -> None:
    asked = [question for question in questions(TALKS, SETTINGS, 0) if question["correct_answer"] != "direct"]
    assert len(asked) >= 9
    assert all("messages" in question for question in asked)
    write_jsonl(tmp_path / "test.jsonl", asked)
    settings = when2call.Settings(
        path=str(tmp_path / "test.jsonl"), prompt="official", family="hermes" if False else None
    )
    (sample, *_) = when2call.samples(settings)
    assert [message.role for message in sample.messages] == ["user", "assistant", "user"]
    with pytest.raises(ConfigError, match="is a conversation"):
        when2call.scoring_request(sample, settings, None)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "must end with the user's 'question'"),
        ([{"role": "user", "content": "other", "tool_calls": []}], "must end with the user's 'question'"),
        (["x"], r"messages\[0\]: must be an object"),
        ([{"role": "boss", "content": "", "tool_calls": []}], "must be an object whose 'role'"),
        ([{"role": "user", "content": ""}], r"messages\[0\]: 'tool_calls' is missing"),
        ([{"role": "assistant", "content": "", "tool_calls": [{"name": "x"}]}], "'arguments' is missing"),
        ([{"role": "assistant", "content": "", "tool_calls": [1]}], "a call must be an object, not int"),
    ],
)
def test_broken_messages_are_one_line(tmp_path: Path, messages: list, problem: str) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{**ASKED[0], "messages": messages}])
    with pytest.raises(DataError, match=rf"test.jsonl:1: ?.*{problem}"):
        list(read_questions(QuestionSettings(path=str(tmp_path / "test.jsonl"))))


def test_no_wording_of_training_is_asked() -> None:
    told = {
        text_behavior(r.messages[-1].content) + r.messages[-1].content
        for r in derive(ROWS, SETTINGS, 0)
        if isinstance(r, Example) and r.rule in ("cannot_answer", "direct", "request_for_info")
    }
    asked = {question["correct_answer"] + question["answers"][question["correct_answer"]] for question in ASKED}
    assert told
    assert not told & asked


def test_as_many_as_wanted_and_the_same_again() -> None:
    few = list(questions(ROWS, SETTINGS.model_copy(update={"num_questions": 8}), 0))
    assert [question["correct_answer"] for question in few] == list(BEHAVIORS) * 2
    assert list(questions(ROWS, SETTINGS, 0)) == ASKED
    assert not list(questions(ROWS, SETTINGS.model_copy(update={"num_questions": 0}), 0))


def test_a_lost_value_and_a_lost_tool_are_told_to_the_reader() -> None:
    for question in ASKED:
        name = json.loads(question["answers"]["tool_call"])["name"]
        if question["correct_answer"] == "request_for_info":
            assert question["held_out_param"] in json.loads(question["target_tool"])["parameters"]["required"]
            assert question["orig_question"] != question["question"]
        if question["correct_answer"] == "cannot_answer":
            assert question["target_tool"] is None
            assert name in {json.loads(tool)["name"] for tool in [*question["orig_tools"], *question["tools"]]}


def test_what_an_agent_said_itself_is_asked_freely(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of the held-out answers to a user, with its own behaviour; benchmarks of four answers leave them out."""
    said: dict[Behavior, str] = {
        "direct": "It opens at nine.",
        "request_for_info": "Which city do you mean?",
        "cannot_answer": "I can't do that, as I have no tool for it.",
    }
    own = [
        Example(f"own:{n}:{behavior}", "toy", (user(f"Question {n}?"), Message("assistant", text)), ALL, behavior)
        for behavior, text in said.items()
        for n in range(12)
    ]
    after_a_result = row(
        "late", user("?"), call("get_weather", city="Oslo"), Message("tool", "5"), Message("assistant", "5")
    )
    asked = list(questions([*log(9), *own, after_a_result], SETTINGS.model_copy(update={"num_questions": 44}), 0))
    free = [question for question in asked if question.get("asked") == "freely"]
    assert asked[-len(free) :] == free
    assert all(question["answers"].keys() == {question["correct_answer"]} for question in free)
    # Up to eleven of each, those with four answers counted.
    counts = Counter(question["correct_answer"] for question in asked)
    assert counts == {"tool_call": 9, **dict.fromkeys(said, 11)}
    assert "late" not in {question["source_id"] for question in asked}
    path = str(tmp_path / "test.jsonl")
    write_jsonl(Path(path), asked)
    samples = list(when2call_generation.samples(when2call_generation.Settings(path=path)))
    assert Counter(sample.behavior for sample in samples) == counts
    assert [sample.target["call"] is None for sample in samples] == [s.behavior != "tool_call" for s in samples]
    assert len(list(when2call.samples(when2call.Settings(path=path)))) == len(asked) - len(free)
    assert f"test.jsonl: {len(free)} more questions have no four answers" in capsys.readouterr().out
    write_jsonl(Path(path), [free[0] | {"asked": "loudly"}])
    with pytest.raises(DataError, match="'asked' must be"):
        list(when2call_generation.samples(when2call_generation.Settings(path=path)))


def test_few_questions_of_one_behavior_do_not_cost_those_of_others() -> None:
    silent = [row(f"s:{n}", user(f"Play number {n} of my list."), call("play_song", title="Halo")) for n in range(20)]
    counts = Counter(each["correct_answer"] for each in questions([*silent, *TALKS[:3]], SETTINGS, 0))
    assert counts == {"tool_call": 10, "direct": 10, "cannot_answer": 10, "request_for_info": 3}

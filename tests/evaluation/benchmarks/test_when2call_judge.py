import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import Answer, ChatServer, in_turn, label, says, serving

from calltune.config.entries import Entry
from calltune.config.table import parse_options
from calltune.errors import CalltuneError, ConfigError
from calltune.evaluation.benchmarks import when2call_judge
from calltune.evaluation.benchmarks.when2call_judge import Settings, judge_prompt, samples, score, score_all, summarize
from calltune.types import Completion, Message, Sample, Tool, ToolCall
from calltune.verbs.evaluate import count

CLASSES = ("tool_call", "request_for_info", "cannot_answer")
TOOL = Tool("get_weather", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}})


def settings_for(server: ChatServer, **changed: Any) -> Settings:
    quick = {"backoff_seconds": 0.001, "timeout_seconds": 10, "max_tries": 2}
    return Settings.model_validate({"judge": {"base_url": server.base_url, "model": "m", **quick, **changed}})


def questions(number: int) -> list[Sample]:
    return [
        Sample(str(n), "when2call_judge", (Message("user", f"question {n} {{}}"),), (TOOL,), CLASSES[n % 3])
        for n in range(number)
    ]


def answered(asked: list[Sample]) -> list[Completion]:
    return [Completion(sample.id, Message("assistant", f"reply {sample.id}."), "", "ok") for sample in asked]


def number_in(body: dict[str, Any]) -> int:
    return int(body["messages"][0]["content"].split("\nreply ")[1].split(".")[0])


def right(body: dict[str, Any]) -> Answer:
    return label(CLASSES[number_in(body) % 3])


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "judgements.jsonl").read_text().splitlines()]


def test_the_judge_s_labels_become_scores(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Answer:
        return label("direct_answer") if number_in(body) in (4, 5) else right(body)

    asked = questions(6)
    with serving(reply) as server:
        scores = score_all(asked, answered(asked), settings_for(server), tmp_path)
    assert [s.sample_id for s in scores] == [s.id for s in asked]
    assert [s.value for s in scores] == [1, 1, 1, 1, 0, 0]
    assert [s.label for s in scores[3:]] == ["tool_call", "direct", "direct"]
    assert {row["label"] for row in rows(tmp_path)} == {*CLASSES, "direct_answer"}


def test_what_the_judge_is_told() -> None:
    (sample,) = questions(1)
    call = ToolCall("get_weather", {"city": "Zürich {x}"})
    prompt = judge_prompt(sample, Message("assistant", " Wait. ", (call, call)))
    for name in ("direct_answer", "tool_call", "request_for_info", "cannot_answer"):
        assert f"- {name}: " in prompt
    assert "\nquestion 0 {}\n" in prompt
    written = '{"name": "get_weather", "arguments": {"city": "Zürich {x}"}}'
    assert f"<reply>\nWait.\n{written}\n{written}\n</reply>" in prompt
    assert '"properties": {"city": {"type": "string"}}' in prompt


def test_trouble_is_counted_and_never_a_zero(tmp_path: Path) -> None:
    """Garbage, 429, 500, a hang, no JSON, no label: each at its own question, some for good; all is finished."""
    trouble: dict[int, list[Answer]] = {
        0: [says("garbage"), right_for(0)],
        10: [Answer({}, 429, {"Retry-After": "0.05"}), right_for(10)],
        20: [Answer({"error": {"message": "oh"}}, 500), right_for(20)],
        30: [Answer("", hang=True), right_for(30)],
        40: [Answer("<html>", 200, {"Content-Type": "text/html"}), right_for(40)],
        50: [says('{"classification": "other"}'), right_for(50)],
        60: [says("garbage")],
        70: [Answer({}, 500)],
        80: [Answer("", hang=True)],
    }
    plays = {number: in_turn(*answers) for number, answers in trouble.items()}
    asked = questions(300)
    with serving(lambda body: plays.get(number_in(body), right)(body)) as server:
        scores = score_all(asked, completions := answered(asked), settings_for(server, timeout_seconds=1.5), tmp_path)
    assert [n for n, s in enumerate(scores) if s.value != 1] == [60, 70, 80]
    assert [scores[n].value for n in (60, 70, 80)] == [None] * 3
    assert scores[60].reason.startswith("unreadable twice")
    assert scores[70].reason.startswith("HTTP 500")
    assert scores[80].reason.startswith("no reply within")
    bins = count(completions, scores)
    assert (bins["num_samples"], bins["num_correct"], bins["num_errors"], bins["num_wrong"]) == (300, 297, 3, 0)
    assert summarize(asked, completions, scores).metrics["accuracy"] == 1
    # A busy machine may time out before a try reaches the server; it counts all the same.
    assert sum(row["num_requests"] for row in rows(tmp_path)) >= len(server.requests) >= 309


def right_for(number: int) -> Answer:
    return label(CLASSES[number % 3])


def test_more_than_one_percent_of_errors_fails_and_goes_on_later(tmp_path: Path) -> None:
    asked = questions(100)
    broken = {7, 9}
    with (
        serving(lambda body: Answer({}, 500) if number_in(body) in broken else right(body)) as server,
        pytest.raises(CalltuneError, match=r"2 of 100 .* the last: HTTP 500.*run again to go on") as error,
    ):
        score_all(asked, answered(asked), settings_for(server), tmp_path)
    assert "\n" not in str(error.value)
    kept = {row["sample_id"] for row in rows(tmp_path) if row["label"]}
    assert 5 < len(kept) < 99
    with serving(right) as server:
        scores = score_all(asked, answered(asked), settings_for(server), tmp_path)
    assert {number_in(body) for body in server.requests} == {int(s.id) for s in asked if s.id not in kept}
    assert all(s.value == 1 for s in scores)
    with serving(right) as server:
        assert score_all(asked, answered(asked), settings_for(server), tmp_path) == scores
    assert not server.requests


def test_a_kill_loses_only_the_line_that_was_being_written(tmp_path: Path) -> None:
    asked = questions(12)
    with serving(right) as server:
        whole = score_all(asked, answered(asked), settings_for(server), tmp_path)
    file = tmp_path / "judgements.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:7]) + lines[7][:30])
    with serving(right) as server:
        assert score_all(asked, answered(asked), settings_for(server), tmp_path) == whole
    assert len(server.requests) == 5
    assert len(rows(tmp_path)) == 12


def test_another_answer_or_judge_is_judged_anew(tmp_path: Path) -> None:
    asked = questions(3)
    completions = answered(asked)
    with serving(right) as server:
        score_all(asked, completions, settings_for(server), tmp_path)
        completions[1] = replace(completions[1], message=Message("assistant", "reply 1. Otherwise."))
        score_all(asked, completions, settings_for(server, concurrency=1, max_requests=99), tmp_path)
        assert len(server.requests) == 4
        score_all(asked, completions, settings_for(server, temperature=0), tmp_path)
        assert len(server.requests) == 7


def test_the_budget_holds_over_several_runs(tmp_path: Path) -> None:
    asked = questions(10)
    with serving(right) as server:
        for _ in range(2):
            with pytest.raises(CalltuneError, match=r"the budget of 6 requests \(max_requests\) is used up"):
                score_all(asked, answered(asked), settings_for(server, max_requests=6), tmp_path)
            assert len(server.requests) == 6
        score_all(asked, answered(asked), settings_for(server, max_requests=10), tmp_path)
    assert len(server.requests) == 10


def test_answers_that_need_no_judge(tmp_path: Path) -> None:
    asked = questions(5)
    completions = [
        Completion("0", None, "<tool_call>", "malformed", reason="open"),
        Completion("1", None, "and and", "truncated"),
        Completion("2", None, "", "malformed", reason="the answer has neither text nor calls, only a thought"),
        Completion("3", Message("assistant", "", (ToolCall("get_weather", {}),)), "", "ok"),
        Completion("4", Message("assistant", "x"), "", "ok"),
    ]
    assert score(asked[4], completions[4]).value is None
    with serving(in_turn(label("tool_call"))) as server:
        scores = score_all(asked, completions, settings_for(server), tmp_path)
    assert len(server.requests) == 2
    assert [(s.value, s.label) for s in scores] == [
        (0, "malformed"),
        (0, "truncated"),
        (0, "empty"),
        (1, "tool_call"),
        (0, "tool_call"),
    ]
    metrics = summarize(asked, completions, scores).metrics
    assert metrics["malformed_rate"] == metrics["truncated_rate"] == metrics["empty_rate"] == 0.2
    bins = count(completions, scores)
    assert (bins["num_correct"], bins["num_wrong"], bins["num_malformed"], bins["num_truncated"]) == (1, 1, 2, 1)
    missing = [Completion("0", None, "", "error", reason="HTTP 500"), *completions[1:]]
    with serving(right) as server, pytest.raises(CalltuneError, match=r"1 of 5 .* HTTP 500"):
        score_all(asked, missing, settings_for(server), tmp_path)
    assert not server.requests


def test_figures_are_nvidia_s(tmp_path: Path) -> None:
    """Their aggregation, written out again: accuracy and a counter of labels per class of right answers."""
    asked = [*questions(9), Sample("9", "when2call_judge", (Message("user", "q"),), (), "cannot_answer")]
    shown = ["tool_call", "tool_call", "cannot_answer", "tool_call", "request_for_info"] + ["tool_call"] * 5
    completions = answered(asked)
    with serving(lambda body: label(shown[number_in(body)])) as server:
        scores = score_all(asked, completions, settings_for(server), tmp_path)
    summary = summarize(asked, completions, scores)
    expected = {}
    for name in CLASSES:
        given = [label for sample, label in zip(asked, shown, strict=True) if sample.target == name]
        expected[name] = given.count(name) / len(given)
        table = summary.confusion["by_judge"]
        counts = dict(zip(table["labels"], table["counts"][table["labels"].index(name)], strict=True))
        assert {label: number for label, number in counts.items() if number} == Counter(given)
        assert summary.metrics[f"accuracy_{name}"] == expected[name]
    assert summary.primary_metric == "macro_accuracy"
    assert summary.metrics["macro_accuracy"] == pytest.approx(sum(expected.values()) / 3)
    low, high = summary.intervals["macro_accuracy"]
    assert low < sum(expected.values()) / 3 < high
    assert summary.metrics["hallucination_rate"] == 1
    empty = summarize([], [], [])
    assert empty.metrics["macro_accuracy"] is empty.metrics["accuracy"] is None


def test_the_key_appears_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-123")
    asked = questions(200)
    echo = Answer({"error": {"message": "you sent secret-123"}}, 400)
    with serving(lambda body: echo if number_in(body) == 3 else right(body)) as server:
        settings = settings_for(server, api_key_env="JUDGE_KEY")
        scores = score_all(asked, answered(asked), settings, tmp_path)
    assert set(server.keys) == {"Bearer secret-123"}
    assert scores[3].reason == "HTTP 400: you sent ***"
    output = capsys.readouterr()
    for text in (output.out, output.err, (tmp_path / "judgements.jsonl").read_text(), repr(scores), repr(settings)):
        assert "secret" not in text
    assert "JUDGE_KEY" not in json.dumps(settings.model_dump())


def test_a_missing_key_is_known_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    table = {"base_url": "http://localhost/v1", "model": "m", "api_key_env": "JUDGE_KEY"}
    settings = parse_options(Settings, Entry.model_validate({"name": "x", "judge": table}).options, "x")
    with pytest.raises(ConfigError, match="'JUDGE_KEY' is not set"):
        next(samples(settings))
    with pytest.raises(ConfigError, match="'judge' is missing"):
        parse_options(Settings, {}, "x")


def test_real_rows(shared_data: Path, tmp_path: Path) -> None:
    path = str(shared_data / "when2call" / "nvidia_test_dev.jsonl")
    with serving(in_turn(label("cannot_answer"))) as server:
        settings = settings_for(server).model_copy(update={"path": path})
        asked = list(samples(settings))
        completions = [Completion(s.id, Message("assistant", "I can't."), "", "ok") for s in asked]
        scores = score_all(asked, completions, settings, tmp_path)
        assert when2call_judge.prompt_name(settings, None) == "chat_template, judged by m"
    assert len(server.requests) == 151
    metrics = summarize(asked, completions, scores).metrics
    assert metrics["macro_accuracy"] == pytest.approx(1 / 3)
    assert metrics["accuracy"] == 50 / 151
    assert metrics["hallucination_rate"] == 0

"""The verdicts of `calltune.evaluation.benchmarks.bfcl` against those recorded from bfcl-eval (see make_bfcl.py)."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import bfcl_random
import jsonschema
import pytest
from bfcl_answers import PLAIN_TEXT, Answer, derive, digest, language_of

from calltune.evaluation.benchmarks import bfcl
from calltune.evaluation.benchmarks.bfcl_rows import category_of
from calltune.types import Completion, Message, Sample, Score, ToolCall

HERE = Path(__file__).parent
TOY = HERE / "bfcl_toy"
TOY_ANSWERS = [json.loads(line) for line in (TOY / "answers.jsonl").read_text().splitlines()]

# Which of our classes an official error type may be; those of several calls have no type of their own.
CLASSES = {
    "simple_function_checker:wrong_count": {"wrong_count", "missed_call"},
    "multiple_function_checker:wrong_count": {"wrong_count", "missed_call"},
    "parallel_function_checker_no_order:wrong_count": {"wrong_count", "missed_call"},
    "simple_function_checker:wrong_func_name": {"wrong_tool", "invented_tool"},
    "simple_function_checker:missing_required": {"missing_argument"},
    "simple_function_checker:missing_optional": {"missing_argument"},
    "simple_function_checker:unexpected_param": {"extra_argument"},
    "type_error:simple": {"wrong_type"},
    "type_error:nested": {"wrong_type"},
    "type_error:java": {"wrong_type"},
    "type_error:js": {"wrong_type"},
    "value_error:string": {"wrong_value"},
    "value_error:others": {"wrong_value"},
    "value_error:list/tuple": {"wrong_value"},
    "value_error:list_dict_count": {"wrong_value"},
    "value_error:dict_key": {"wrong_value"},
    "value_error:dict_value": {"wrong_value"},
    "dict_checker:unclear": {"wrong_value"},
    "ast_decoder:decoder_failed": {"malformed", "missed_call"},
    "irrelevance_error:decoder_success": {"needless_call"},
    "relevance_error:decoder_failed": {"malformed", "missed_call"},
}
# Rows whose accepted values no answer can reach in the official checker: an argument that the tool does not have, and
# lists of anything, whose numbers are read as texts.
UNREACHABLE = {"live_multiple_862-181-3", "simple_java_36", "simple_java_65"}


def completion(sample_id: str, answer: Answer) -> Completion:
    if answer is None:
        return Completion(sample_id, None, '<tool_call>{"argument": ', "malformed", reason="not closed")
    if isinstance(answer, str):
        return Completion(sample_id, Message("assistant", answer), answer, "ok")
    calls = tuple(ToolCall(name, arguments) for name, arguments in answer)
    return Completion(sample_id, Message("assistant", "", calls), "", "ok")


def our_score(sample: Sample, answer: Answer) -> Score:
    return bfcl.score(sample, completion(sample.id, answer))


def assert_equal_verdict(sample: Sample, name: str, answer: Answer, official: str) -> None:
    ours = our_score(sample, answer)
    case = f"{sample.id} {name}: {ours} but officially {official}; {answer}"
    if answer is None:  # the one exception: a call that cannot be read is no refusal
        assert (ours.value, ours.label) == (0.0, "malformed"), case
        assert (official == "correct") == ("irrelevance" in sample.id), case
    elif not official.startswith("raises:"):  # where the official checker breaks down, it has no verdict
        assert (ours.value == 1.0) == (official == "correct"), case
        assert (ours.label == "correct") == (ours.value == 1.0), case
        assert official == "correct" or ours.label in CLASSES.get(official, {ours.label}), case


@cache
def toy_samples() -> dict[str, Sample]:
    return {sample.id: sample for sample in bfcl.samples(bfcl.Settings(path=str(TOY)))}


@pytest.mark.parametrize("line", TOY_ANSWERS, ids=lambda line: f"{line['id']}-{TOY_ANSWERS.index(line)}")
def test_toy_answer_has_the_official_verdict_and_its_class(line: dict[str, Any]) -> None:
    sample = toy_samples()[line["id"]]
    assert_equal_verdict(sample, "", line["answer"], line["official"])
    assert our_score(sample, line["answer"]).label == line["label"]


def test_toy_answers_show_every_class_of_error() -> None:
    assert {line["label"] for line in TOY_ANSWERS} == {
        *("correct", "wrong_tool", "invented_tool", "missing_argument", "extra_argument", "wrong_value", "wrong_type"),
        *("wrong_count", "needless_call", "missed_call", "malformed"),
    }


def test_the_weighting_is_the_leaderboards() -> None:
    gold = json.loads((HERE / "bfcl_weighting.json").read_text())
    samples, scores = [], []
    for category, (correct, total) in gold["correct_of_total"].items():
        for number in range(total):
            samples.append(Sample(f"{category}_{number}", "bfcl", (), (), {}))
            right = number < correct
            scores.append(Score(samples[-1].id, float(right), "correct" if right else "wrong_value"))
    metrics = bfcl.summarize(samples, [completion(sample.id, []) for sample in samples], scores).metrics
    # Of the leaderboard's 100 parts, 30 are single-turn; the others were zero when this was recorded.
    ours = {**metrics, "overall": 0.3 * (metrics["overall_single_turn"] or 0)}
    for name, percent in gold["official"].items():
        assert f"{ours[name]:.2%}" == percent, name


def test_random_answers_have_the_official_verdict(tmp_path: Path) -> None:
    gold = json.loads((HERE / "bfcl_random.json").read_text())
    questions = list(bfcl_random.questions(gold["seed"], gold["num_questions"]))
    assert digest(questions) == gold["questions"], "the questions changed; record them again"
    samples = {sample.id: sample for sample in samples_of(questions, tmp_path)}
    num_answers = 0
    for (row, _, answers), verdicts in zip(questions, gold["verdicts"], strict=True):
        for answer, letter in zip(answers, verdicts, strict=True):
            assert_equal_verdict(samples[row["id"]], "", answer, gold["outcomes"][letter])
            num_answers += 1
    assert num_answers == gold["num_answers"]


def samples_of(questions: list[bfcl_random.Question], folder: Path) -> Sequence[Sample]:
    (folder / "possible_answer").mkdir()
    for row, truth, _ in questions:
        name = f"BFCL_v4_{category_of(row['id'])}.json"
        with (folder / name).open("a") as file:
            file.write(json.dumps(row) + "\n")
        with (folder / "possible_answer" / name).open("a") as file:
            file.write(json.dumps({"id": row["id"], "ground_truth": truth}) + "\n")
    return bfcl.samples(bfcl.Settings(path=str(folder)))


class Recorded:
    """The shared rows with their answers and recorded verdicts."""

    def __init__(self, folder: Path) -> None:
        header, *lines = (HERE / "bfcl_verdicts.jsonl").read_text().splitlines()
        self.header = json.loads(header)
        self.samples = {sample.id: sample for sample in bfcl.samples(bfcl.Settings(path=str(folder)))}
        rows = _rows(folder.glob("BFCL_v4_*.json"))
        truths = _rows((folder / "possible_answer").glob("BFCL_v4_*.json"))
        self.answers = {i: derive(row, truths[i]["ground_truth"] if i in truths else None) for i, row in rows.items()}
        self.lines = {line["id"]: line for line in map(json.loads, lines)}


def _rows(paths: Any) -> dict[str, dict[str, Any]]:
    lines = (line for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
    return {row["id"]: row for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Recorded:
    if not (shared_data / "bfcl").is_dir():
        pytest.skip(f"no BFCL files in {shared_data}")
    return Recorded(shared_data / "bfcl")


def test_the_shared_rows_are_those_recorded(recorded: Recorded) -> None:
    assert set(recorded.samples) == set(recorded.answers) == set(recorded.lines)
    differing = [i for i, answers in recorded.answers.items() if digest(answers) != recorded.lines[i]["answers"]]
    assert not differing, "these rows or the rules changed; record them again"


def test_every_recorded_verdict_is_repeated(recorded: Recorded) -> None:
    outcomes = recorded.header["outcomes"]
    num_answers = Counter[str]()
    for row_id, answers in recorded.answers.items():
        for (name, answer), letter in zip(answers.items(), recorded.lines[row_id]["verdicts"], strict=True):
            assert_equal_verdict(recorded.samples[row_id], name, answer, outcomes[letter])
            num_answers[category_of(row_id)] += 1
    assert num_answers.total() == recorded.header["num_answers"] >= 3000
    assert len(num_answers) == 12


def test_perfect_is_right_and_no_call_is_wrong_wherever_a_call_is_expected(recorded: Recorded) -> None:
    missed = set()
    expecting = [sample for sample in recorded.samples.values() if sample.target["expect"] == "calls"]
    for sample in expecting:
        if our_score(sample, recorded.answers[sample.id]["perfect"]).value != 1.0:
            missed.add(sample.id)
        for nothing in ([], "{}", PLAIN_TEXT):
            assert our_score(sample, nothing).value == 0.0
    assert len(expecting) == 1726
    assert missed == UNREACHABLE


def test_errors_have_the_class_that_their_rule_makes(recorded: Recorded) -> None:
    made = {
        "empty": {"missed_call"},
        "text": {"missed_call"},
        "malformed": {"malformed"},
        "invented_tool": {"invented_tool"},
        "other_tool": {"wrong_tool"},
        "extra_argument": {"extra_argument"},
        "extra_call": {"wrong_count"},
        "missing": {"missing_argument", "correct"},
        "wrong_type": {"wrong_type", "wrong_value", "correct"},
        "wrong_value": {"wrong_value", "wrong_type", "correct"},
    }
    for row_id, answers in recorded.answers.items():
        sample = recorded.samples[row_id]
        # Among several calls, a spoilt one may be the nearest to another expected call.
        if sample.target["expect"] != "calls" or len(sample.target["calls"]) > 1 or row_id in UNREACHABLE:
            continue
        for name, answer in answers.items():
            classes = made.get(name.partition("@")[0].partition(":")[0])
            if classes:
                assert our_score(sample, answer).label in classes, (row_id, name)


def test_every_tool_is_json_schema_under_a_name_that_models_accept(recorded: Recorded) -> None:
    for sample in recorded.samples.values():
        for tool in sample.tools:
            jsonschema.Draft202012Validator.check_schema(dict(tool.parameters))
            assert re.fullmatch(r"[A-Za-z0-9_-]+", tool.name), (sample.id, tool.name)


def test_the_targets_are_plain_json(recorded: Recorded) -> None:
    for sample in recorded.samples.values():
        assert json.loads(json.dumps(sample.target)) == sample.target
        assert sample.target.get("language", "python") == language_of(sample.id)


def test_metrics_of_perfect_answers(recorded: Recorded) -> None:
    samples: Sequence[Sample] = list(recorded.samples.values())
    expects = {sample.id: sample.target["expect"] for sample in samples}
    chosen = {"calls": "perfect", "any_call": "first_tool", "no_call": "empty"}
    completions = [completion(s.id, recorded.answers[s.id][chosen[expects[s.id]]]) for s in samples]
    scores = [bfcl.score(s, c) for s, c in zip(samples, completions, strict=True)]
    metrics = bfcl.summarize(samples, completions, scores).metrics
    # Two of 100 Java rows and one of 454 live rows of several tools cannot be answered.
    assert metrics["non_live_ast"] == pytest.approx(((1 + 0.98 + 1) / 3 + 3) / 4)
    assert metrics["live_ast"] == pytest.approx(1 - 1 / (82 + 454 + 16 + 24))
    assert metrics["irrelevance_mean"] == metrics["accuracy_irrelevance"] == 1.0
    assert metrics["accuracy_live_irrelevance"] is None

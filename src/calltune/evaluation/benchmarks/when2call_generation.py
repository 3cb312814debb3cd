"""When2Call's questions answered freely, greedily: what does the model *do*, once nobody offers it four answers?

A call that parses is `tool_call`; text is read by the rule of `calltune.calling.behavior`. A malformed or cut-off
answer is wrong whatever was expected, and has its own rate.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import pydantic

from calltune.calling.behavior import message_behavior
from calltune.evaluation.benchmarks import BROKEN_ANSWERS, Metric, Summary, confusion_table, one_by_one, own_template
from calltune.evaluation.benchmarks.when2call_rows import Question, QuestionSettings, questions
from calltune.evaluation.statistics import macro_f1, recall_per_class, wilson_interval
from calltune.types import BEHAVIORS, Completion, Message, Sample, Score, ToolCall

METRICS: Mapping[str, Metric] = {
    "behavior_accuracy": Metric(
        "writing freely, it does the right kind of thing",
        skill="doing the right thing when it writes freely",
        tile="right decision",
    ),
    "macro_f1": Metric("mean F1 over the classes", f1_of="by_behavior"),
    **BROKEN_ANSWERS,
    "exact_call_rate": Metric("a due call is exactly the expected one", tile="exact calls"),
    **{f"recall_{name}": Metric() for name in BEHAVIORS},
}
prompt_name = own_template
scoring_request = None
"""Answers are written freely."""
_LABELS = (*BEHAVIORS, "malformed", "truncated")


class Settings(QuestionSettings):
    """The keys of a `when2call_generation` benchmark."""

    max_new_tokens: Annotated[int, pydantic.Field(gt=0)] = 256
    """An answer longer than this is truncated, and counted so."""


def metric_names(settings: Settings) -> list[str]:
    """Accuracy, macro-F1 and the rates; a recall for every behaviour."""
    return list(METRICS)


def samples(settings: Settings) -> Iterator[Sample]:
    """One sample per question; its target is the behaviour and, where one is right, the call.

    Raises:
        DataError: as `questions` does.
    """
    return map(sample_of, questions(settings, with_four=False))


def sample_of(question: Question) -> Sample:
    """A question as it is asked freely."""
    due = question.answers["tool_call"].tool_calls[0] if question.correct == "tool_call" else None
    call = {"name": due.name, "arguments": due.arguments} if due else None
    return question.sample("when2call_generation", {"behavior": question.correct, "call": call})


def known_answer(sample: Sample) -> Message | None:
    """The call that is due; None where a text is right, which has no one length."""
    call = sample.target["call"]
    return Message("assistant", tool_calls=(ToolCall(call["name"], call["arguments"]),)) if call else None


def score(sample: Sample, completion: Completion) -> Score:
    """1 when the answer shows the right behaviour. Whether a call is the *right* call is measured beside it."""
    if completion.status == "error":
        return Score(sample.id, None, "error", completion.reason)
    if completion.status != "ok" or completion.message is None:
        return Score(sample.id, 0.0, completion.status, completion.reason)
    shown = message_behavior(completion.message)
    return Score(sample.id, float(shown == sample.target["behavior"]), shown)


score_all = one_by_one(score)


def summarize(samples: Sequence[Sample], completions: Sequence[Completion], scores: Sequence[Score]) -> Summary:
    """Behaviour accuracy, macro-F1, malformed and truncated rates, and how many due calls are the gold call exactly."""
    scored = [(s, c, v) for s, c, v in zip(samples, completions, scores, strict=True) if v.value is not None]
    targets = [str(sample.target["behavior"]) for sample, _, _ in scored]
    predictions = [verdict.label for _, _, verdict in scored]
    right = sum(bool(verdict.value) for _, _, verdict in scored)
    total = len(scored)
    due = [(s.target["call"], c.message) for s, c, _ in scored if s.target["call"]]
    exact = sum(_is_call(call, message) for call, message in due)
    metrics: dict[str, float | None] = {
        "behavior_accuracy": right / total if total else None,
        "macro_f1": macro_f1(targets, predictions),
        "malformed_rate": predictions.count("malformed") / total if total else None,
        "truncated_rate": predictions.count("truncated") / total if total else None,
        "exact_call_rate": exact / len(due) if due else None,
    }
    for label, recall in recall_per_class(targets, predictions).items():
        metrics[f"recall_{label}"] = recall
    intervals = {
        "behavior_accuracy": wilson_interval(right, total),
        "exact_call_rate": wilson_interval(exact, len(due)),
    }
    return Summary(
        "behavior_accuracy", metrics, intervals, {"by_behavior": confusion_table(targets, predictions, _LABELS)}
    )


def _is_call(gold: dict, message: object) -> bool:
    calls = getattr(message, "tool_calls", ())
    return len(calls) == 1 and calls[0].name == gold["name"] and dict(calls[0].arguments) == dict(gold["arguments"])

"""When2Call's questions answered freely, and a second model, the judge, names what each answer does.

As NVIDIA's `evaluation/llm_as_a_judge` (When2Call 5ada7c9): the judge sees tools, question and answer, knows four
labels (`direct` is spelled `direct_answer`), and is told to leave correctness alone; per class of right answers,
accuracy is the share that got the class's own label, and the distribution of labels stands beside it. Here, and not
there: the checkpoint is asked through its own chat template, with nothing rewritten in the tools; an answer that is
malformed, cut off or empty is wrong and is not judged; and what the judge fails to label is an error, which enters no
average, where theirs takes any string for a label.

Verdicts are kept in the folder of the evaluation as they come.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from calltune.calling.parsed import NOTHING_SAID
from calltune.errors import ModelError
from calltune.evaluation.benchmarks import BROKEN_ANSWERS, Metric, Summary, confusion_table
from calltune.evaluation.benchmarks.when2call_rows import QuestionSettings, questions
from calltune.evaluation.judge import JudgeSettings, Verdict, ask_label
from calltune.evaluation.records import mend
from calltune.evaluation.statistics import bootstrap_interval, macro_f1, recall_per_class, wilson_interval
from calltune.files.hashes import value_sha256
from calltune.files.json_lines import read_appended, to_json
from calltune.files.state import read_noun
from calltune.models.endpoint import Endpoint, read_api_key
from calltune.runtime.terminal import ProgressBar
from calltune.types import BEHAVIORS, Behavior, Completion, Message, Sample, Score

JUDGEMENTS = "judgements.jsonl"
_NOT_JUDGED = "not judged"
_MOST_ERRORS = 0.01
_LABELS: dict[str, Behavior] = {
    "direct_answer": "direct",
    "tool_call": "tool_call",
    "request_for_info": "request_for_info",
    "cannot_answer": "cannot_answer",
}
METRICS: Mapping[str, Metric] = {
    "macro_accuracy": Metric(
        "mean accuracy over the classes, by the judge",
        skill="doing the right thing in the judge's eyes",
        tile="right decision",
        mean_of=tuple(f"accuracy_{name}" for name in BEHAVIORS),
    ),
    "accuracy": Metric("share of right answers, by the judge"),
    "macro_f1": Metric("mean F1 over the classes", f1_of="by_judge", asked_only=True),
    "hallucination_rate": Metric(
        "a call wins though there is no tool", less_is_better=True, harm="more calls where there is no tool"
    ),
    **BROKEN_ANSWERS,
    "empty_rate": Metric("nothing was written", less_is_better=True, harm="more empty answers"),
    **{f"accuracy_{name}": Metric() for name in BEHAVIORS},
}
scoring_request = None
"""Answers are written freely."""
_SHOWN = (*BEHAVIORS, "malformed", "truncated", "empty")


@dataclass(frozen=True, slots=True)
class _Judgement:
    """A row of `judgements.jsonl`, of what is read again; `label` is None where the judge gave none."""

    sample_id: str
    sha256: str
    label: Literal["direct_answer", "tool_call", "request_for_info", "cannot_answer"] | None
    num_requests: int


class Settings(QuestionSettings):
    """The keys of a `when2call_judge` benchmark."""

    max_new_tokens: Annotated[int, pydantic.Field(gt=0)] = 512
    """An answer longer than this is truncated, and counted so."""

    judge: JudgeSettings
    """`[evaluate.benchmarks.judge]`; its budget counts per checkpoint, over all runs into the same folder."""


def metric_names(settings: Settings) -> list[str]:
    """Accuracies, macro-F1 and the rates; an accuracy for every behaviour."""
    return list(METRICS)


def prompt_name(settings: Settings, chat: object) -> str:
    """Always the model's own chat template; and who judges, without whom the figures say nothing."""
    return f"chat_template, judged by {settings.judge.model}"


def samples(settings: Settings) -> Iterator[Sample]:
    """One sample per question; its target is the behaviour.

    Raises:
        ConfigError: the judge's key or package is missing, which would else be known only once all is answered.
        DataError: as `questions` does.
    """
    read_api_key(settings.judge)
    for question in questions(settings):
        yield question.sample("when2call_judge", question.correct)


def score(sample: Sample, completion: Completion) -> Score:
    """The score of an answer that needs no judge: it is missing, malformed, cut off or empty.

    Any other is an error here, as it was not judged; `score_all` judges.
    """
    if completion.status == "error":
        return Score(sample.id, None, "error", completion.reason)
    if completion.reason.startswith(NOTHING_SAID):
        return Score(sample.id, 0.0, "empty", completion.reason)
    if completion.status != "ok" or completion.message is None:
        return Score(sample.id, 0.0, completion.status, completion.reason)
    if not _answer_text(completion.message):
        return Score(sample.id, 0.0, "empty", "nothing was answered")
    return Score(sample.id, None, "error", _NOT_JUDGED)


def score_all(
    samples: Sequence[Sample], completions: Sequence[Completion], settings: Settings, folder: Path
) -> list[Score]:
    """1 where the judge names the right behaviour, in the order of the samples.

    Every verdict is appended to `judgements.jsonl` in the folder when it comes, and is taken from there the next time,
    as long as judge, question and answer are the same. Failed ones are asked again.

    Raises:
        ModelError: more than 1 % of the samples are errors, or the server refuses every request; what was judged is
            kept.
        ConfigError: the judge's key is missing.
    """
    scores = {s.id: score(s, c) for s, c in zip(samples, completions, strict=True)}
    prompts = {
        s.id: judge_prompt(s, c.message)
        for s, c in zip(samples, completions, strict=True)
        if c.message is not None and scores[s.id].reason == _NOT_JUDGED
    }
    judge = settings.judge.model_dump(mode="json")
    hashes = {sample_id: value_sha256([judge, list(_LABELS), prompt]) for sample_id, prompt in prompts.items()}
    # Verdicts are paid for: what can be read stays.
    mend(folder / JUDGEMENTS, None, _judgement)
    rows = [_judgement(row, JUDGEMENTS) for row in read_appended(folder / JUDGEMENTS)]
    done = {(row.sample_id, row.sha256): row.label for row in rows if row.label is not None}
    labels = {sample_id: done[sample_id, sha256] for sample_id, sha256 in hashes.items() if (sample_id, sha256) in done}
    failed = [score.reason for sample_id, score in scores.items() if score.value is None and sample_id not in prompts]
    _check(failed, samples)
    endpoint = Endpoint(settings.judge, num_requests=sum(row.num_requests for row in rows))

    async def work(sample_id: str) -> Verdict:
        return await ask_label(endpoint, settings.judge, prompts[sample_id], list(_LABELS))

    with (
        ProgressBar("judging", len(prompts), len(labels)) as bar,
        (folder / JUDGEMENTS).open("a", encoding="utf-8", errors="backslashreplace") as file,
    ):

        def keep(sample_id: str, verdict: Verdict) -> bool:
            row = {"sample_id": sample_id, "sha256": hashes[sample_id], "label": verdict.label}
            rest = {"reason": verdict.reason, "answer": verdict.answer, "num_requests": verdict.num_requests}
            file.write(to_json({**row, **rest}) + "\n")
            file.flush()
            bar.advance()
            if verdict.label is None:
                scores[sample_id] = Score(sample_id, None, "error", verdict.reason)
                failed.append(verdict.reason)
            else:
                labels[sample_id] = verdict.label
            return _too_many(failed, samples)

        endpoint.each([sample_id for sample_id in prompts if sample_id not in labels], work, keep)
    _check(failed, samples)
    for sample in samples:
        if sample.id in labels:
            shown = _LABELS[labels[sample.id]]
            scores[sample.id] = Score(sample.id, float(shown == sample.target), shown)
    return [scores[sample.id] for sample in samples]


def _judgement(row: Mapping[str, Any], where: str) -> _Judgement:
    return read_noun(_Judgement, row, where)


def judge_prompt(sample: Sample, answer: Message) -> str:
    """What the judge is told: the labels, the tools on offer, the question, and the answer with its calls as JSON."""
    tools = [{"name": t.name, "description": t.description, "parameters": dict(t.parameters)} for t in sample.tools]
    return f"""Sort the reply of an AI assistant into exactly one of four kinds:

- direct_answer: it answers the user from what it already knows, neither using a tool nor asking for anything more.
- tool_call: it chooses to use one of the tools that are offered to it.
- request_for_info: it asks the user for information that it does not have yet.
- cannot_answer: it turns the request down, saying that it lacks what would be needed.

Whether the reply is right plays no part; only its kind is asked for. It may hold a call of a tool, or not.

<offered_tools>
{json.dumps(tools, ensure_ascii=False, allow_nan=False)}
</offered_tools>

<question>
{sample.messages[-1].content}
</question>

<reply>
{_answer_text(answer)}
</reply>"""


def summarize(samples: Sequence[Sample], completions: Sequence[Completion], scores: Sequence[Score]) -> Summary:
    """Accuracy per class of right answers, their mean over the classes, and which labels each class got.

    `hallucination_rate` is the share of `cannot_answer` questions without any tool that were answered by a call; None
    when there is no such question. Macro-F1 averages over the classes that occur as a target.
    """
    scored = [(s, v) for s, v in zip(samples, scores, strict=True) if v.value is not None]
    targets, shown = [str(s.target) for s, _ in scored], [v.label for _, v in scored]
    total, right = len(scored), sum(bool(v.value) for _, v in scored)
    classes = sorted(set(targets))
    metrics: dict[str, float | None] = {
        "macro_accuracy": None,
        "accuracy": right / total if total else None,
        "macro_f1": macro_f1(targets, shown, classes),
    }
    intervals = {"accuracy": wilson_interval(right, total)}
    if classes:
        # The mean over classes is the mean over answers when each one weighs as its class is rare.
        weights = {name: total / (len(classes) * targets.count(name)) for name in classes}
        weighed = [weights[str(s.target)] * (v.value or 0.0) for s, v in scored]
        metrics["macro_accuracy"] = sum(weighed) / total
        intervals["macro_accuracy"] = bootstrap_interval(weighed, seed=0)
    for label, accuracy in recall_per_class(targets, shown).items():
        metrics[f"accuracy_{label}"] = accuracy
    bare = [v.label for s, v in scored if s.target == "cannot_answer" and not s.tools]
    metrics["hallucination_rate"] = bare.count("tool_call") / len(bare) if bare else None
    for label in ("malformed", "truncated", "empty"):
        metrics[f"{label}_rate"] = shown.count(label) / total if total else None
    return Summary("macro_accuracy", metrics, intervals, {"by_judge": confusion_table(targets, shown, _SHOWN)})


def _answer_text(message: Message) -> str:
    calls = (
        json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False, allow_nan=False)
        for call in message.tool_calls
    )
    return "\n".join(part for part in (message.content.strip(), *calls) if part)


def _too_many(failed: Sequence[str], samples: Sequence[Sample]) -> bool:
    return len(failed) > _MOST_ERRORS * len(samples)


def _check(failed: Sequence[str], samples: Sequence[Sample]) -> None:
    if _too_many(failed, samples):
        raise ModelError(
            f"when2call_judge: {len(failed)} of {len(samples)} answers could not be judged, more than 1 %; the last: "
            f"{failed[-1]}. What was judged is kept; run again to go on"
        )

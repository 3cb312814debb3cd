"""When2Call multiple choice: which of four written answers does the model find most likely?

Two argmaxes, as in lm-eval 0.4.13: `acc` by the summed log-likelihood, `acc_norm` by the log-likelihood divided by the
answer's characters. NVIDIA reports F1 and hallucination by the first beside accuracy by the second; here every metric
is given for both, the second with `_norm` in its name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from calltune.calling.families import PromptFamily, prompt_family
from calltune.calling.option_reading import majority, read_options
from calltune.errors import ConfigError, ModelError
from calltune.evaluation.benchmarks import Metric, Summary, confusion_table, one_by_one
from calltune.evaluation.benchmarks.when2call_prompts import official_prompt
from calltune.evaluation.benchmarks.when2call_rows import QuestionSettings, questions
from calltune.evaluation.statistics import macro_f1, recall_per_class, wilson_interval
from calltune.types import BEHAVIORS, Completion, Sample, Score, ScoringRequest

METRICS: Mapping[str, Metric] = {
    "acc": Metric("the right option is the likeliest in sum"),
    "macro_f1": Metric("mean F1 over the classes", f1_of="by_likelihood"),
    "macro_f1_asked": Metric(f1_of="by_likelihood", asked_only=True),
    "hallucination_rate": Metric("a call wins though there is no tool", less_is_better=True),
    **{f"recall_{name}": Metric() for name in BEHAVIORS},
    "acc_norm": Metric(
        "the right option is the likeliest per character",
        skill="picking the right one of four written answers",
        tile="right decision",
    ),
    "macro_f1_norm": Metric("mean F1 over the classes, per character", f1_of="by_likelihood_norm"),
    "macro_f1_asked_norm": Metric(f1_of="by_likelihood_norm", asked_only=True),
    "hallucination_rate_norm": Metric(
        "the same, per character", less_is_better=True, harm="more calls where there is no tool"
    ),
    **{f"recall_{name}_norm": Metric() for name in BEHAVIORS},
    "baseline_option_reading": Metric(
        "a rule that reads the options, without any model", baseline="reading the options alone"
    ),
    "baseline_majority": Metric("always the most frequent class", baseline="always the most frequent"),
}


class Settings(QuestionSettings):
    """The keys of a `when2call` benchmark."""

    prompt: Literal["chat_template", "official"] = "chat_template"
    """The model's own template and call format, thinking off; or the prompt NVIDIA typed out for its family."""

    family: PromptFamily | None = None
    """Which of NVIDIA's prompts; by default the one nearest to the model's chat template."""


def metric_names(settings: Settings) -> list[str]:
    """Those by both argmaxes, and the two baselines; a recall for every behaviour."""
    return list(METRICS)


def prompt_name(settings: Settings, chat: Any) -> str:
    """`chat_template`, or `official` with the family whose prompt was used."""
    return "chat_template" if settings.prompt == "chat_template" else f"official ({_family(settings, chat)})"


def scoring_request(sample: Sample, settings: Settings, chat: Any) -> ScoringRequest:
    """The prompt and the four answers as they are scored, in the order of the sample's choices.

    Args:
        chat: the model's `calltune.calling.chat.Chat`.

    Raises:
        ConfigError: NVIDIA's prompts have no place for the question.
        ModelError: the model's template writes nothing of an answer.
    """
    if settings.prompt == "official":
        row = sample.metadata
        if "messages" in row:
            raise ConfigError(
                f"question {sample.id} is a conversation, which NVIDIA's prompts have no place for; use 'chat_template'"
            )
        prompt, choices = official_prompt(
            _family(settings, chat), row["question"], row["tools"], row["answers"], sample.id
        )
        return ScoringRequest(prompt, tuple(choices.values()))
    answers = (chat.answer(sample.messages, sample.tools, choice) for choice in sample.choices.values())
    written = tuple(map(chat.strip_end, answers))
    if "" in written:
        # Its likelihood per character would be none.
        raise ModelError(f"model '{chat.name}': its chat template writes nothing of an answer to question {sample.id}")
    return ScoringRequest(chat.prompt(sample.messages, sample.tools), written)


def _family(settings: Settings, chat: Any) -> PromptFamily:
    return settings.family or prompt_family(chat.tokenizer.chat_template)


def samples(settings: Settings) -> Iterator[Sample]:
    """One sample per question, its four answers as choices.

    Raises:
        DataError: as `questions` does.
    """
    for question in questions(settings):
        yield question.sample("when2call", question.correct, choices={**question.answers}, metadata=question.published)


def score(sample: Sample, completion: Completion) -> Score:
    """1 when the answer most likely per character is the right one; its behaviour is the label."""
    if completion.status != "ok":
        return Score(sample.id, None, completion.status, completion.reason)
    chosen = likeliest_per_character(completion)
    return Score(sample.id, float(chosen == sample.target), chosen)


score_all = one_by_one(score)


def likeliest(completion: Completion) -> str:
    """The choice of the highest log-likelihood; the first in When2Call's order among equals, as numpy's argmax."""
    return max(BEHAVIORS, key=lambda label: completion.logprobs[label])


def likeliest_per_character(completion: Completion) -> str:
    """The choice of the highest log-likelihood per character of its text."""
    return max(BEHAVIORS, key=lambda label: completion.logprobs[label] / completion.num_characters[label])


def summarize(samples: Sequence[Sample], completions: Sequence[Completion], scores: Sequence[Score]) -> Summary:
    """Accuracy, macro-F1, hallucination rate, recall and confusion by both argmaxes; two baselines without a model.

    `macro_f1` averages over the behaviours that occur as a target or a prediction, as NVIDIA's does, so one needless
    answer of a class that is never right costs a whole class; `macro_f1_asked` averages over the targets' classes. The
    hallucination rate is the share of `cannot_answer` questions without any tool in which the call is the likeliest;
    None when there is no such question.
    """
    metrics: dict[str, float | None] = {}
    intervals, confusion = {}, {}
    answered = [(s, c) for s, c in zip(samples, completions, strict=True) if c.status == "ok"]
    targets = [str(sample.target) for sample, _ in answered]
    argmaxes: dict[str, Callable[[Completion], str]] = {"": likeliest, "_norm": likeliest_per_character}
    for suffix, argmax in argmaxes.items():
        predictions = [argmax(completion) for _, completion in answered]
        right = sum(t == p for t, p in zip(targets, predictions, strict=True))
        metrics[f"acc{suffix}"] = right / len(answered) if answered else None
        intervals[f"acc{suffix}"] = wilson_interval(right, len(answered))
        metrics[f"macro_f1{suffix}"] = macro_f1(targets, predictions)
        metrics[f"macro_f1_asked{suffix}"] = macro_f1(targets, predictions, sorted(set(targets)))
        bare = [
            p for (s, _), p in zip(answered, predictions, strict=True) if s.target == "cannot_answer" and not s.tools
        ]
        metrics[f"hallucination_rate{suffix}"] = bare.count("tool_call") / len(bare) if bare else None
        for label, recall in recall_per_class(targets, predictions).items():
            metrics[f"recall_{label}{suffix}"] = recall
        confusion[f"by_likelihood{suffix}"] = confusion_table(targets, predictions, BEHAVIORS)
    for name, predictions in (
        ("baseline_option_reading", [read_options(sample) for sample in samples]),
        ("baseline_majority", [majority([str(sample.target) for sample in samples])] * len(samples)),
    ):
        right = sum(sample.target == p for sample, p in zip(samples, predictions, strict=True))
        metrics[name] = right / len(samples)
    return Summary("acc_norm", metrics, intervals, confusion)

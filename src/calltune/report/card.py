"""The model card of an export: `README.md` with front matter for the Hub; what it does not know it does not say.

Names come from run files and data, so each is escaped: nothing of them is read as markdown, HTML or YAML.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calltune.config.stages import stage_of
from calltune.report.results import Result

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#!|~:@])")
_SECRET = re.compile(r"hub_token|secret|password|api_key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that the model was trained on or measured with."""

    name: str
    num_rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TrainedStage:
    """What a card tells of a stage's manifest; `kept` says where the model is not that of the last step."""

    counts: Mapping[str, int]
    steps: int
    trainable_share: float
    kept: str = ""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """All that a card tells; plain JSON values within.

    `base_card` holds what is known of the base for the front matter: `base_model`, and `license` with its
    `license_name` and `license_link`. `stages` are those that trained, `results` what was measured. `verdict` is that
    of a report on these results, empty where there is none.
    """

    name: str
    base: str
    base_card: Mapping[str, Any]
    checkpoint: str
    dtype: str
    method: str
    datasets: Sequence[str]
    sources: Sequence[tuple[str, str]]
    files: Sequence[DataFile]
    recipe: Mapping[str, Any]
    stages: Mapping[str, TrainedStage]
    results: Sequence[Result]
    verdict: str = ""

    @property
    def thinking(self) -> str:
        """The mode or modes in which the model was trained and measured, as `[chat] thinking` says."""
        return self.recipe.get("chat", {}).get("thinking", "off")


@dataclass(frozen=True, slots=True)
class GgufCard:
    """What a card tells of GGUF files: rows of name, bytes and SHA-256, and rows of answers beside those in f16."""

    files: Sequence[tuple[str, int, str]]
    answers: Sequence[tuple[str, str]]
    notes: Sequence[str]


def model_card(
    facts: CardFacts,
    serve: str,
    serve_note: str,
    parity: str,
    versions: Mapping[str, str],
    decides: str = "",
    gguf: GgufCard | None = None,
) -> str:
    """The text of `README.md`.

    Args:
        decides: code that reads the export's `decide.json`, where it has one.
        gguf: what the card tells besides where the weights are GGUF files.
    """
    words = {
        "sft": "supervised fine-tuning",
        "dpo": "preference optimisation",
        "grpo": "reinforcement learning from verified answers (GRPO)",
    }
    rounds = sum(stage_of(name) == "dpo" for name in facts.stages)
    steps = " then ".join(dict.fromkeys(words[stage_of(name)] for name in facts.stages))
    steps += f" in {rounds} rounds" if rounds > 1 else ""
    return "\n\n".join(
        [
            _front_matter(facts, gguf is not None),
            f"# {_text(facts.name)}",
            f"{_text(facts.base)} taught when and how to call tools by {steps} ({_text(facts.method)} tuning), with "
            f"calltune {_text(versions['calltune'])}. These are the weights of "
            f"the checkpoint `{facts.checkpoint}`, stored in {facts.dtype}.",
            *_results(facts),
            *_use(serve, serve_note, facts.thinking, gguf),
            *_decide(decides),
            *_data(facts),
            *_training(facts),
            "## Checked at export",
            f"Against the checkpoint as it was trained, in float32: {parity}.",
            "## Versions",
            ", ".join(f"{_text(name)} {_text(version)}" for name, version in versions.items()),
        ]
    ) + ("\n")


def _front_matter(facts: CardFacts, is_gguf: bool) -> str:
    tags = [
        *(["gguf"] if is_gguf else []),
        "tool-calling",
        "function-calling",
        "calltune",
        *dict.fromkeys(map(stage_of, facts.stages)),
    ]
    if facts.method != "full":
        tags.append(facts.method)
    fields = {
        **facts.base_card,
        **({"base_model_relation": "finetune"} if "base_model" in facts.base_card else {}),
        **({"datasets": list(facts.datasets)} if facts.datasets else {}),
        "library_name": "gguf" if is_gguf else "transformers",
        "pipeline_tag": "text-generation",
        "tags": tags,
    }
    # A JSON value is a YAML value, whatever characters it holds.
    return "\n".join(["---", *(f"{key}: {json.dumps(value, allow_nan=False)}" for key, value in fields.items()), "---"])


def _results(facts: CardFacts) -> list[str]:
    parts = ["## Results"]
    if not facts.results:
        return [*parts, "It was not measured."]
    if facts.verdict:
        parts.append(_text(facts.verdict))
    for benchmark in dict.fromkeys(result.benchmark for result in facts.results):
        results = [result for result in facts.results if result.benchmark == benchmark]
        first = results[0]
        names = [name for name in first.metrics if not name.startswith("recall_")]
        names.sort(key=lambda name: name != first.primary_metric)
        rows = [
            [_text(name), *(_figure(result, name) for result in results)]
            for name in names
            if any(result.metrics.get(name) is not None for result in results)
        ]
        rows.append([" / ".join(first.bins), *(" / ".join(map(str, result.bins.values())) for result in results)])
        parts.append(f"**{_text(benchmark)}**: {first.num_samples:,} questions, {_text(first.prompt)} prompt")
        parts.append(_table(["", *(_text(result.checkpoint) for result in results)], rows))
    return [*parts, "In brackets: 95 % intervals."]


def _figure(result: Result, metric: str) -> str:
    value, interval = result.metrics.get(metric), result.intervals.get(metric)
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _gguf(gguf: GgufCard) -> list[str]:
    files = [[f"`{name}`", f"{size / 1e6:,.1f} MB", f"`{sha256}`"] for name, size, sha256 in gguf.files]
    answers = [[_text(name), _text(sentence)] for name, sentence in gguf.answers]
    return [
        "## Files",
        _table(["file", "size", "SHA-256"], files),
        "Greedy answers of llama.cpp to the run's own questions, beside those of the f16 weights:",
        _table(["weights", "answers"], answers),
        *(f"{_text(note)}." for note in gguf.notes),
    ]


_THINKING = {
    "off": "thinking off where the template has it",
    "on": "thinking on (`enable_thinking`), in which it was trained and measured",
    "both": "thinking on or off as `enable_thinking` says; it was trained and measured in both modes",
}


def _use(serve: str, note: str, thinking: str, gguf: GgufCard | None) -> list[str]:
    if gguf:
        return ["## Use", _code(serve, "console"), *([f"{_text(note)}."] if note else []), *_gguf(gguf)]
    return [
        "## Use",
        _code(serve, "console"),
        *([f"{_text(note)}."] if note else []),
        f"The prompt is the tokenizer's own chat template, {_THINKING[thinking]}; it was measured "
        "with greedy answers, which `generation_config.json` asks for.",
    ]


def _decide(code: str) -> list[str]:
    if not code:
        return []
    return [
        "### What it would do",
        "`decide.json` tells how its answers begin. One pass over the prompt gives the probabilities that it calls a "
        "tool, asks back, refuses or answers, calibrated on held-out questions, and a decision at the operating point "
        "that was chosen there:",
        _code(code, "python"),
    ]


def _data(facts: CardFacts) -> list[str]:
    sources = [[_text(name), _text(origin)] for name, origin in facts.sources]
    files = [[_text(file.name), f"{file.num_rows:,}", f"`{file.sha256}`"] for file in facts.files]
    return [
        "## Data",
        _table(["source", "from"], sources),
        "What `calltune prepare` made of it:",
        _table(["file", "rows", "SHA-256"], files),
    ]


def _training(facts: CardFacts) -> list[str]:
    rows = [
        [
            name,
            f"{stage.counts['rows']:,}",
            f"{stage.counts['rows_too_long']:,}",
            f"{stage.counts['answer_tokens']:,}",
            f"{stage.steps:,}",
            f"{stage.trainable_share:.1%}",
        ]
        for name, stage in facts.stages.items()
    ]
    columns = ["stage", "rows", "left out as too long", "answer tokens", "steps", "trained share of the weights"]
    recipe = json.dumps(_without_secrets(facts.recipe), indent=2, allow_nan=False)
    return [
        "## Training",
        _table(columns, rows),
        *(f"{name}: {_text(stage.kept)}." for name, stage in facts.stages.items() if stage.kept),
        "What the run file set; everything else is calltune's, TRL's and PEFT's default of these versions:",
        _code(recipe, "json"),
    ]


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: "***" if _SECRET.search(key) else _without_secrets(inner) for key, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(text: str, language: str) -> str:
    """A fenced block; its fence is longer than any run of backticks within."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _text(value: Any) -> str:
    """A value as plain words in one line."""
    return _MARKDOWN.sub(r"\\\1", html.escape(" ".join(str(value).split()), quote=False))

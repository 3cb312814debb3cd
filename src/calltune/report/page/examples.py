"""What the page's examples browser shows: every question with every checkpoint's answer, small enough to load at once.

Texts that occur often (tools, labels, answers) are written once and named by number. `page.js` reads this layout:

- `texts`: strings; `tools`: `[name, description, parameters as JSON]`;
- `benchmarks`: `{title, checkpoints, mistakes, rows}`, where `mistakes` are the kinds that occur, and a row is
  `[id, messages, tools, group, target, choices, answers, call]`: a message is `[role, text]`, a choice `[label, text]`,
  texts and tools by number, and an answer, one per checkpoint, `[value, label, reason, text, mistakes, logprobs]`, the
  last per character in the order of the choices;
- `call` is the one that is due, `{name, arguments}`, and `mistakes` a list of `[argument, kind, expected, given]`, both
  as the number of a text of JSON, or -1 where there is none, or nothing can be told.
"""

import json
from collections.abc import Sequence
from typing import Any

from calltune.report.mistakes import KINDS, count_mistakes, expected_call, mistakes
from calltune.report.results import Measured
from calltune.types import Completion, Message, Sample, Score, Tool


class _Pool:
    """Values, each kept once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Any, int] = {}

    def number(self, value: Any) -> int:
        """Where a value is kept."""
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]


def examples(benchmarks: Sequence[Measured]) -> dict[str, Any]:
    """Every question of every benchmark whose questions can be read."""
    texts, tools = _Pool(), _Pool()
    shown = [
        {
            "title": benchmark.title,
            "checkpoints": benchmark.paired(),
            "mistakes": _kinds(benchmark),
            "rows": [
                _row(benchmark, number, sample, texts, tools) for number, sample in enumerate(benchmark.samples or ())
            ],
        }
        for benchmark in benchmarks
        if benchmark.paired()
    ]
    return {"benchmarks": shown, "texts": texts.values, "tools": tools.values}


def _kinds(benchmark: Measured) -> list[str]:
    """The kinds of mistake that occur, which the browser offers."""
    counted = count_mistakes(benchmark).values()
    return [kind for kind in KINDS if any(each.counts[kind] for each in counted)]


def _row(benchmark: Measured, number: int, sample: Sample, texts: _Pool, tools: _Pool) -> list[Any]:
    call = None if sample.choices else expected_call(sample)
    return [
        sample.id,
        [[message.role, texts.number(message_text(message))] for message in sample.messages],
        [tools.number(_tool(tool)) for tool in sample.tools],
        texts.number(sample.group[1]),
        texts.number(target_text(sample)),
        [[texts.number(label), texts.number(message_text(choice))] for label, choice in sample.choices.items()],
        [
            _answer(sample, benchmark.answers[name].completions[number], benchmark.answers[name].scores[number], texts)
            for name in benchmark.paired()
        ],
        -1 if call is None else texts.number(_json({"name": call.name, "arguments": dict(call.arguments)})),
    ]


def _answer(sample: Sample, completion: Completion, score: Score, texts: _Pool) -> list[Any]:
    found = mistakes(sample, completion) if score.value is not None else None
    told = found and [[mistake.argument, mistake.kind, mistake.expected, mistake.given] for mistake in found]
    text = completion.text or (message_text(completion.message) if completion.message else "")
    return [
        score.value,
        texts.number(score.label),
        texts.number(score.reason or completion.reason),
        texts.number(text),
        -1 if found is None else texts.number(_json(told or [])),
        [
            round(completion.logprobs[label] / completion.num_characters[label], 4)
            for label in sample.choices
            if label in completion.logprobs
        ],
    ]


def message_text(message: Message) -> str:
    """What a message says, and its calls as JSON, a line each."""
    calls = (
        json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False, allow_nan=False)
        for call in message.tool_calls
    )
    return "\n".join(part for part in (message.content, *calls) if part)


def target_text(sample: Sample) -> str:
    """The behaviour that is right where it says all; where a call is due, the target as the scorer has it."""
    if sample.behavior not in (None, "tool_call"):
        return sample.behavior
    target = sample.target
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False, indent=1, allow_nan=False)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _tool(tool: Tool) -> tuple[str, str, str]:
    return tool.name, tool.description, json.dumps(dict(tool.parameters), ensure_ascii=False, allow_nan=False)

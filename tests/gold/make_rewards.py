"""Record what the benchmarks' own scorers say of 1,000 answers to 60 questions: writes `rewards.jsonl`.

    PYTHONPATH=src:tests/gold python tests/gold/make_rewards.py

The questions are made up by calltune's generator. The answers are what a model may write: the right one, one of another
behaviour, calls with each kind of mistake, texts that nobody can read, and cut-off ones. `when2call_generation` says
which behaviour an answer shows and whether it is the right one; where a call is due, the question is written down as
BFCL publishes its own, read by the reader of `bfcl`, and scored by its scorer, and `jsonschema` says whether calls are
valid.
"""

import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema

from calltune.calling.chat import Chat
from calltune.calling.layout import tool_dict
from calltune.data.rows import training_row
from calltune.data.sources import synthetic
from calltune.evaluation.benchmarks import bfcl, when2call_generation
from calltune.evaluation.benchmarks.bfcl_rows import read_category
from calltune.models.backends.tokens import completion
from calltune.models.load import load_tokenizer
from calltune.types import Completion, Example, Message, Sample, ToolCall

HERE = Path(__file__).parent
FILE, MODEL = HERE / "rewards.jsonl", HERE.parents[1] / "examples" / "tiny-qwen3"
NUM_QUESTIONS, NUM_ANSWERS = 60, 1000
BOTH = "I'm sorry, I can't see the day. Which day should it be?"


def changed(call: ToolCall, row: Example, rng: random.Random) -> Iterator[tuple[ToolCall, ...]]:
    """Calls that a model may write in the place of the right one."""
    arguments = dict(call.arguments)
    yield (call, call)
    yield (ToolCall(f"{call.name}_now", arguments),)
    yield (ToolCall(call.name, {**arguments, "colour": "red"}),)
    other = [tool.name for tool in row.tools if tool.name != call.name]
    if other:
        yield (ToolCall(rng.choice(other), arguments),)
    for name, value in arguments.items():
        yield (ToolCall(call.name, {key: each for key, each in arguments.items() if key != name}),)
        yield (ToolCall(call.name, {**arguments, name: f"{value}" if not isinstance(value, str) else 7}),)
        if isinstance(value, str):
            yield (ToolCall(call.name, {**arguments, name: value.upper()}),)
            yield (ToolCall(call.name, {**arguments, name: f"{value} or so"}),)
        else:
            yield (ToolCall(call.name, {**arguments, name: value + 1}),)


def answers_to(row: Example, rows: list[Example], chat: Chat, rng: random.Random) -> Iterator[tuple[str, bool]]:
    """Texts with whether they are ended: the known answer many times, as a model that learns is often right."""

    def written(message: Message) -> str:
        return chat.strip_end(chat.answer(row.prompt, row.tools, message))

    gold = row.answers[0]
    for _ in range(3):
        yield written(gold), True
    yield written(gold)[: rng.randrange(4, 12)], False
    for other in rng.sample(rows, 6):
        yield written(other.answers[0]), True
    yield written(Message("assistant", BOTH)), True
    calls = gold.tool_calls or rng.choice([each for each in rows if each.answers[0].tool_calls]).answers[0].tool_calls
    for made in changed(calls[0], row, rng):
        yield written(Message("assistant", "", made)), True
    text = written(Message("assistant", "", calls))
    yield text.replace("}}", "}"), True
    yield text.replace("</tool_call>", ""), True
    yield "", True


def as_bfcl(rows: list[Example], folder: Path) -> dict[str, Sample]:
    """The questions that want a call, as BFCL's own files have them, read by its reader; by the row's id."""
    kinds = {"object": "dict", "number": "float", "array": "array"}
    questions, truths, names = [], [], {}
    for row in rows:
        if row.behavior != "tool_call":
            continue
        name, call = f"multiple_{len(questions)}", row.answers[0].tool_calls[0]
        functions = []
        for tool in row.tools:
            parameters: Any = json.loads(json.dumps(tool_dict(tool)["function"]["parameters"]))
            for schema in (parameters, *parameters["properties"].values()):
                schema["type"] = kinds.get(schema["type"], schema["type"])
            functions.append(
                {"name": tool.name, "description": tool.description, "parameters": {"required": [], **parameters}}
            )
        turn = [[{"role": "user", "content": row.prompt[-1].content}]]
        questions.append({"id": name, "question": turn, "function": functions})
        accepted = {key: [value] for key, value in call.arguments.items()}
        truths.append({"id": name, "ground_truth": [{call.name: accepted}]})
        names[name] = row.id
    (folder / "possible_answer").mkdir()
    for place, found in ((folder, questions), (folder / "possible_answer", truths)):
        text = "".join(json.dumps(each) + "\n" for each in found)
        (place / "BFCL_v4_multiple.json").write_text(text, encoding="utf-8")
    return {names[sample.id]: sample for sample in read_category(folder, "multiple")}


def read_back(chat: Chat, sample: Sample, text: str, is_ended: bool) -> Completion:
    """An answer as a backend gives it; the text of one that is cut off has no end."""
    tokens = chat.tokenizer(text, add_special_tokens=False).input_ids
    end = chat.tokenizer.convert_tokens_to_ids(chat.ends[0])
    return completion(chat, [end], sample, [*tokens, end] if is_ended else tokens)


def keeps_schema(row: Example, answer: Completion) -> bool:
    """Whether every call is of a tool that is offered, and valid by its parameters as `jsonschema` reads them."""
    tools = {tool.name: {**tool.parameters, "additionalProperties": False} for tool in row.tools}
    calls = answer.message.tool_calls if answer.message else ()
    return bool(calls) and all(
        call.name in tools and jsonschema.Draft202012Validator(tools[call.name]).is_valid(dict(call.arguments))
        for call in calls
    )


def main() -> None:
    """Write the questions, then the answers, each with its verdicts."""
    rng, chat = random.Random(0), Chat(load_tokenizer(str(MODEL)))
    rows = list(synthetic.examples(0, NUM_QUESTIONS))
    lines = [training_row(row) for row in rows]
    with tempfile.TemporaryDirectory() as place:
        of_bfcl = as_bfcl(rows, Path(place))
    found = [(row, *each) for row in rows for each in answers_to(row, rows, chat, rng)]
    for row, text, is_ended in sorted(rng.sample(found, NUM_ANSWERS), key=lambda each: each[0].id):
        target = {"behavior": row.behavior, "call": None}
        sample = Sample(row.id, "when2call_generation", row.prompt, row.tools, target)
        answer = read_back(chat, sample, text, is_ended)
        shown = when2call_generation.score(sample, answer)
        line: dict[str, Any] = {"question": row.id, "text": text, "is_ended": is_ended}
        line |= {"shows": shown.label, "is_behavior_right": bool(shown.value)}
        if asked := of_bfcl.get(row.id):
            verdict = bfcl.score(asked, replace(answer, sample_id=asked.id))
            line |= {"bfcl": verdict.label, "keeps_schema": keeps_schema(row, answer)}
        lines.append(line)
    FILE.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()

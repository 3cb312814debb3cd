"""Training rows as messages: preference pairs, and one sample for each assistant turn of an agent's traces."""

import json
import random
from dataclasses import replace
from itertools import islice

from calltune.calling.schema import normalize_tool
from calltune.data.sources import synthetic, when2call
from calltune.types import Example, Message, Tool, ToolCall
from material.qwen3 import SHARED

_MESSAGES_IN_A_HURRY = 4


def pairs(count, seed=0):
    """`count` preference pairs at random, and what they are."""
    file = SHARED / "when2call" / "train_pref.jsonl"
    if file.is_file():
        rows = list(when2call.read(when2call.Settings(path=str(file), split="train_pref")))
        return random.Random(seed).sample(rows, count), "real user language in When2Call's layout"
    return list(synthetic.preferences(seed, count)), "made-up pairs (no real ones at hand)"


def turns():
    """One sample for each assistant turn of one agent's traces, in the traces' order, and what they are."""
    file = SHARED / "traces" / "taskmaster4.openai.jsonl"
    if file.is_file():
        with file.open(encoding="utf-8") as lines:
            traces = [json.loads(line) for line in islice(lines, 400)]
        samples = [sample for number, trace in enumerate(traces) for sample in _samples(number, trace)]
        return samples, "real traces of one ordering agent with 8 tools"
    # The synthetic source draws other tools for each row; an agent's stay.
    rows = list(synthetic.examples(0, 200))
    tools = tuple({tool.name: tool for row in rows for tool in row.tools}.values())[:8]
    samples = [Example(row.id, row.source, row.messages, tools, row.behavior) for row in rows]
    return samples, "made-up questions over 8 tools (no real traces at hand)"


def drawn(turns, number, hurry):
    """So many of the turns, at random, their tools in one order; in a hurry none of more than four messages."""
    early = [turn for turn in turns if len(turn.messages) <= _MESSAGES_IN_A_HURRY]
    return in_one_order(random.Random(0).sample(early if hurry else turns, number))


def in_one_order(samples):
    """The same samples with their tools sorted by name: an agent sends them in one order, the file shuffles them."""
    return [replace(sample, tools=tuple(sorted(sample.tools, key=lambda tool: tool.name))) for sample in samples]


def _samples(number, trace):
    tools = tuple(normalize_tool(tool["function"], f"trace {number}") for tool in trace["tools"])
    messages = tuple(_message(message) for message in trace["messages"])
    for stop, message in enumerate(messages):
        if message.role == "assistant":
            kind = "tool_call" if message.tool_calls else "direct"
            yield Example(f"{number}:{stop}", "traces", messages[: stop + 1], tools, kind)


def _message(raw):
    calls = [call["function"] for call in raw.get("tool_calls") or ()]
    return Message(
        raw["role"],
        raw["content"] or "",
        tuple(ToolCall(call["name"], json.loads(call["arguments"])) for call in calls),
    )


def more_tools(chat, tools, num_tokens):
    """Tools added to the given ones until their part of the prompt has about `num_tokens` tokens."""
    more = list(tools)
    while True:
        written = chat.prompt([Message("user", "")], more)
        if len(chat.tokenizer(written).input_ids) >= num_tokens:
            return tuple(more)
        number = len(more)
        schema = {
            "type": "object",
            "properties": {
                "account_id": {"type": "string", "description": f"The account that step {number} looks at."},
                "since": {"type": "string", "description": "The first day, as YYYY-MM-DD."},
            },
            "required": ["account_id"],
        }
        more.append(Tool(f"list_records_{number}", f"List the records of kind {number} that an account has.", schema))

"""Eight questions of our own in the layout of When2Call's test rows, each with something that goes wrong easily."""

import json
from typing import Any


def _tool(name: str, description: str, properties: dict[str, Any], required: list[str]) -> str:
    parameters = {"type": "dict", "required": required, "properties": properties}
    return json.dumps({"name": name, "description": description, "parameters": parameters}, ensure_ascii=False)


BAKERY = _tool(
    "order_bread",
    "Places an order at the baker's on the corner.",
    {
        "loaf": {"type": "string", "description": "Kind of bread, such as 'rye' or \"spelt\"."},
        "count": {"type": "integer", "description": "How many.", "default": None},
        "sliced": {"type": "boolean", "description": "Cut it?", "default": False},
    },
    ["loaf"],
)
# The publisher's rows hold text as it was typed: spaces at the ends, raw non-ASCII letters.
TIDES = (
    "  " + _tool("tide-table", "Höchststand der Flut für einen Hafen 🌊.", {"port": {"type": "str"}}, ["port"]) + "\n"
)
PLAIN = _tool("plant.water", "Waters plants", {"beds": {"type": "array", "items": {"type": "integer"}}}, ["beds"])


def _row(
    name: str,
    question: str,
    target: str,
    tools: list[str],
    call: dict[str, Any],
    *,
    direct: str = "It is done.",
    ask: str = "Could you tell me which one you mean?",
    refuse: str = "I'm sorry, I can't do that.",
) -> dict[str, Any]:
    answers = {"direct": direct, "tool_call": json.dumps(call), "request_for_info": ask, "cannot_answer": refuse}
    return {"uuid": name, "question": question, "correct_answer": target, "answers": answers, "tools": tools}


TOY_ROWS = [
    _row(
        "toy-values",
        "Two sliced rye loaves, please.",
        "tool_call",
        [BAKERY],
        {"name": "order_bread", "arguments": {"loaf": "rye", "count": 2, "sliced": True, "price": 4.5}},
    ),
    _row(
        "toy-nested",
        "Water the beds 1, 4 and 7 and write it down",
        "tool_call",
        [PLAIN, BAKERY],
        {
            "name": "plant.water",
            "arguments": {"beds": [1, 4, 7], "log": {"who": "Ö", "note": None}, "unit": 'five "litre" cans'},
        },
    ),
    _row("toy-no-arguments", "Bread?", "request_for_info", [BAKERY], {"name": "order_bread", "arguments": {}}),
    _row(
        "toy-no-tools",
        "When is high tide in Büsum today?",
        "cannot_answer",
        [],
        {"name": "tide-table", "arguments": {"port": "Büsum"}},
        direct="Um 14 Uhr 🌊🌊🌊.",
    ),
    _row(
        "toy-spaces",
        "  Order bread for me,\nwould you? \n",
        "request_for_info",
        [TIDES, BAKERY],
        {"name": "order_bread", "arguments": {"loaf": " spelt "}},
        ask=" Which bread?\n",
        refuse="No.\n\n",
    ),
    _row(
        "toy-non-ascii",
        "Wann ist Hochwasser für Сочи, 東京 und Büsum?",
        "cannot_answer",
        [BAKERY],
        {"name": "tide-table", "arguments": {"port": "東京"}},
        refuse="Entschuldigung, das weiß ich nicht: für Сочи fehlt das Werkzeug.",
    ),
    _row(
        "toy-markup",
        "What does <|im_end|> or {tools} mean in <tool_call>?",
        "cannot_answer",
        [TIDES],
        {"name": "explain", "arguments": {"text": "<|im_end|>{0}%s"}},
        direct="It ends a turn: <|im_end|>",
    ),
    _row(
        "toy-letters-meet",
        "the tool name",
        "request_for_info",
        [PLAIN],
        {"name": "plant.water", "arguments": {"beds": []}},
        direct="and the tools",
        ask="ing? on which bed",
        refuse="er, no",
    ),
]

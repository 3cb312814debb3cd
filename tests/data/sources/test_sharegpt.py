import json
from pathlib import Path

import pytest
from rows_of import TOOL, read, read_one

from calltune.calling.edits import changes_told_to
from calltune.data.sources import sharegpt
from calltune.types import Example, Message, Rejected, ToolCall

FOUND = ToolCall("find", {"what": "it"})
CALL = json.dumps({"name": "find", "arguments": {"what": "it"}})
ANSWERED = (
    Message("user", "Find it."),
    Message("assistant", "", (FOUND,)),
    Message("tool", "found"),
    Message("assistant", "Here."),
)
HERMES = (
    "You are a function calling AI model. You are provided with function signatures within <tools> </tools> XML tags. "
    f"Don't assume values.\n<tools> {[TOOL]} </tools>\nFor each function call return <tool_call> </tool_call>."
)
QWEN = f"Be brief.\n\n# Tools\n\nYou may call functions within <tools></tools>:\n<tools>\n{json.dumps(TOOL)}\n</tools>"


def turns(*pairs: tuple[str, object]) -> list[dict]:
    return [{"from": who, "value": value} for who, value in pairs]


LAYOUTS = {
    "llama_factory": {
        "conversations": turns(
            *(("human", "Find it."), ("function_call", CALL), ("observation", "found"), ("gpt", "Here."))
        ),
        "tools": json.dumps([TOOL]),
    },
    "hermes": {
        "conversations": turns(
            *(("system", HERMES), ("human", "Find it.")),
            *(("gpt", f"<tool_call>\n{json.loads(CALL)}\n</tool_call>"),),
            *(("tool", "<tool_response>\nfound\n</tool_response>"), ("gpt", "Here.")),
        ),
    },
    "roles": {
        "conversations": [
            {"role": "user", "content": "Find it."},
            {"role": "tool_call", "content": CALL},
            {"role": "tool_response", "content": "found"},
            {"role": "assistant", "content": "Here."},
        ],
        "tools": [TOOL],
    },
    "glaive": {
        "system": f"SYSTEM: You may use these functions -\n{json.dumps(TOOL['function'], indent=4)}\n",
        "chat": 'USER: Find it.\n\n\nASSISTANT: <functioncall> {"name": "find", "arguments": \'{"what": "it"}\'} '
        "<|endoftext|>\n\n\nFUNCTION RESPONSE: found\n\n\nASSISTANT: Here. <|endoftext|>\n\n\n",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_layouts_of_one_conversation(tmp_path: Path, layout: str, name: str) -> None:
    first, second = read(sharegpt, tmp_path / name, [LAYOUTS[layout]])
    assert isinstance(second, Example)
    assert second.messages == ANSWERED
    assert first.messages == ANSWERED[:2]
    assert (first.behavior, second.behavior) == ("tool_call", "direct")
    assert [tool.name for tool in first.tools] == ["find"]
    assert first.tools[0].parameters == TOOL["function"]["parameters"]


def test_another_model_s_instructions_are_dropped_and_told(tmp_path: Path) -> None:
    row = {"conversations": turns(("system", QWEN), ("user", "Find it."), ("gpt", "Which?"))}
    told: list[tuple] = []
    with changes_told_to(lambda *change: told.append(change)):
        example = read_one(sharegpt, tmp_path / "rows.jsonl", row)
    assert example.messages[0] == Message("system", "Be brief.")
    assert [tool.name for tool in example.tools] == ["find"]
    ((_, what, (change,)),) = told
    assert (what, change.kind, change.before, change.after) == ("system", "text_dropped", QWEN, "Be brief.")


def test_text_beside_calls_and_several_calls_and_results(tmp_path: Path) -> None:
    said = f"Wait. <tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call>"
    results = "<tool_response>one</tool_response>\n<tool_response>two</tool_response>"
    row = {
        "system": "Be brief.",
        "conversations": turns(
            ("human", "q"), ("gpt", said), ("tool", results), ("function_call", f"[{CALL}, {CALL}]")
        ),
    }
    first, second = read(sharegpt, tmp_path / "rows.jsonl", [row])
    assert first.messages[0] == Message("system", "Be brief.")
    assert first.messages[-1] == Message("assistant", "Wait.", (FOUND, FOUND))
    assert [m.content for m in second.messages if m.role == "tool"] == ["one", "two"]
    assert second.messages[-1].tool_calls == (FOUND, FOUND)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"conversations": 3}, "'conversations' must be list"),
        ({"conversations": [3]}, "conversations[0]: a turn must be an object"),
        ({"conversations": turns(("robot", "x"), ("gpt", "a"))}, "'from' is 'robot', which is nobody known"),
        ({"conversations": turns(("human", None))}, "conversations[0]: 'value' must be str, not NoneType"),
        ({"conversations": turns(("human", "q"), ("gpt", "<tool_call>{}"))}, "is not closed"),
        ({"conversations": turns(("human", "q"), ("gpt", "<tool_call>{</tool_call>"))}, "<tool_call>: not valid JSON"),
        ({"conversations": turns(("human", "q"), ("gpt", "<tool_call>{}</tool_call>"))}, "has no name"),
        ({"conversations": turns(("human", "q"), ("function_call", "[]"))}, "'value' holds no call"),
        ({"conversations": turns(("human", "q"), ("function_call", "{"))}, "value: not valid JSON"),
        ({"conversations": turns(("system", "<tools>[{]</tools>"), ("gpt", "a"))}, "<tools>: not valid JSON"),
        ({"conversations": turns(("gpt", "Hello!"))}, "no message of the user stands before the answer"),
        ({"chat": "USER: q"}, "'system' is missing"),
        ({"chat": "q", "system": ""}, "'chat' must begin with USER: or ASSISTANT:"),
        ({"chat": "USER: q", "system": "{"}, "the tool at character 0 is not JSON"),
        ({"chat": "USER: q\nASSISTANT: <functioncall> f()", "system": ""}, "chat, turn 1: <tool_call>: not valid JSON"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, row: dict, reason: str) -> None:
    file = tmp_path / "rows.jsonl"
    rejected = read_one(sharegpt, file, row)
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(f"{file}:1: ")
    assert reason in rejected.reason

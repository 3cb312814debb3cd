"""Every format of calls under chance: random calls come back, broken ones are malformed or mean what they say.

`CALLTUNE_FUZZ` says how many of each; the tests take few.
"""

import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
from trl.chat_template_utils import add_response_schema
from written_calls import FORMATS, QUESTION, TOOL, call_of, chat_with

from calltune.calling.calls import CallFormat
from calltune.calling.chat import Chat
from calltune.calling.layout import tool_dict
from calltune.types import Message

NUM_CALLS = int(os.environ.get("CALLTUNE_FUZZ", "60"))
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
# Python, in which LFM2 writes, has more escapes than JSON, and they are written again as JSON's.
_ESCAPE = re.compile(r"\\(?:u[0-9a-f]{4}|x[0-9a-fA-F]{2}|[0-7]{1,3}|[av])")
_INSERTED = "\"'{}[]()<>|:,;=\\/\n ax0-.>`"


@pytest.fixture(params=list(FORMATS))
def call_format(request: pytest.FixtureRequest) -> CallFormat:
    return request.param


@pytest.fixture
def chat(call_format: CallFormat, tiny_model: Path) -> Chat:
    chat = chat_with(tiny_model, *FORMATS[call_format])
    assert chat.call_format == call_format
    return chat


def test_random_calls_come_back(call_format: CallFormat, chat: Chat) -> None:
    chance = random.Random(call_format)
    for _ in range(NUM_CALLS):
        message = Message("assistant", "", (call_of(chance),))
        written = chat.answer([QUESTION], [TOOL], message)
        assert written.endswith(chat.ends)
        assert chat.parse(written, [TOOL]).message == message, written


@pytest.mark.parametrize("call_format", ["hermes", "json", "xml", "glm", "gemma4", "harmony"], indirect=True)
def test_transformers_reads_the_same_calls(call_format: CallFormat, chat: Chat) -> None:
    """By TRL's description of the template; that of LFM2 takes a bracket in a text for an end, and is left out."""
    tokenizer: Any = add_response_schema(chat.tokenizer)
    chance = random.Random(call_format)
    for _ in range(NUM_CALLS):
        message = Message("assistant", "", (call_of(chance),))
        prompt, (written,) = chat.prompt_and_answers([QUESTION], [TOOL], [message])
        theirs = tokenizer.parse_response(written, prefix=prompt, tools=[tool_dict(TOOL)])
        functions = [call["function"] for call in theirs["tool_calls"]]
        parsed = chat.parse(written, [TOOL]).message
        assert parsed is not None
        assert functions == [{"name": call.name, "arguments": call.arguments} for call in parsed.tool_calls]


def broken(text: str, chance: random.Random) -> str:
    """Return a text that is cut, or has one character lost, changed or put in."""
    place = chance.randrange(len(text))
    way = chance.randrange(4)
    if way == 0:
        return text[:place]
    if way == 1:
        return text[:place] + text[place + 1 :]
    kept = text[place:] if way == 2 else text[place + 1 :]
    return text[:place] + chance.choice(_INSERTED) + kept


def spelled(text: str) -> str:
    """Return a text without what says nothing: white space, how a number or a backslash is written, and the order."""
    text = _ESCAPE.sub("", text)
    text = _NUMBER.sub(lambda match: repr(float(match[0])), text).replace("\\\\", "\\")
    # Gemma's templates sort keys, so that one which is broken moves.
    return "".join(sorted("".join(text.split()))) if "call:" in text else "".join(text.split())


def test_broken_calls_stay_malformed_or_mean_what_they_say(call_format: CallFormat, chat: Chat) -> None:
    """What is read of a broken text is the call that it was, words beside it aside, or is written again as it is."""
    chance = random.Random(call_format)
    num_malformed = 0
    for _ in range(NUM_CALLS):
        message = Message("assistant", "", (call_of(chance),))
        written = chat.strip_end(chat.answer([QUESTION], [TOOL], message))
        text = broken(written, chance)
        parsed = chat.parse(text, [TOOL])
        if parsed.message is None:
            num_malformed += 1
            assert parsed.reason, text
            assert len(parsed.reason.splitlines()) == 1, parsed.reason
        elif parsed.message.tool_calls != message.tool_calls and (parsed.message.tool_calls or parsed.message.content):
            again = chat.strip_end(chat.answer([QUESTION], [TOOL], parsed.message))
            assert spelled(again) == spelled(text)
    assert num_malformed > NUM_CALLS / 10
    print(f"{call_format}: {num_malformed} of {NUM_CALLS} broken calls are malformed")

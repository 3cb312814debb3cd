"""Our reading of written calls against vLLM's and SGLang's own parsers (`make_served_calls.py`) and against TRL's."""

import json
import re
from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer
from trl.chat_template_utils import add_response_schema

from calltune.calling.calls import parse_answer
from calltune.calling.chat import Chat
from calltune.calling.families import FAMILIES, MISREAD_BY_VLLM
from calltune.types import Message, Tool, ToolCall

GOLD = json.loads((Path(__file__).parent / "served_calls.json").read_text(encoding="utf-8"))
SECTIONS = {section["template"]: section for section in GOLD["sections"]}
TOOLS = [Tool(**tool) for tool in GOLD["tools"]]
STORED = Path(trl.__path__[0]) / "chat_templates"
OFFERED = [{"type": "function", "function": tool} for tool in GOLD["tools"]]
ENDS = {"llama3_2": "<|eot_id|>", "glm4moe": "<|endoftext|>", "gemma4_v5": "<eos>", "muse_glimmer": "<|eot|>"}
MARKS = "'\"\\()[]{},=\n"
NEGATIVE = re.compile(r": -\d")
FROM_TRL = [
    name.removeprefix("trl:") for name in SECTIONS if name not in ("trl:muse_glimmer",) and name.startswith("trl:")
]


def reads_as_json(value):
    try:
        return isinstance(value, str) and json.loads(value) != value
    except ValueError:
        return False


# What a server gives back otherwise than it was written, by the format and the server: a value of this kind.
OTHERWISE = {
    # Written as Python's None, and handed to the client as a text, which the schema does not allow; TRL reads null.
    ("xml", "vllm"): lambda value: value is None,
    ("xml", "sglang"): lambda value: value is None,
    # What stands inside an object whose properties the schema does not name.
    ("gemma4", "vllm"): lambda value: isinstance(value, dict),
    ("gemma4", "sglang"): lambda value: value is None or isinstance(value, dict) or "e" in repr(value),
    # All but texts are lost, and a text of digits becomes a number.
    ("functiongemma", "vllm"): lambda value: not isinstance(value, str) or reads_as_json(value),
    ("atem", "vllm"): reads_as_json,
    ("atem", "sglang"): reads_as_json,
}

# What TRL's response schemas do not read as it was written, which we and the servers read.
TRL_MISREADS = {
    # Its pattern ends a value at the first mark that could end it.
    "lfm2": lambda value: isinstance(value, list | dict) or bool({*MARKS} & {*str(value)}),
    # Keys of an object are words to it.
    "gemma4": lambda value: isinstance(value, dict),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_what_was_written_is_what_we_read(name):
    section = SECTIONS[name]
    first = next(each for each in GOLD["sections"] if each["format"] == section["format"])
    assert len(section["texts"]) == (200 if section is first else 50)
    for text, calls, *_ in section["texts"]:
        message = parse_answer(text, section["format"], TOOLS).message
        assert message == Message("assistant", "", tuple(ToolCall(*call) for call in calls)), text


@pytest.mark.parametrize("name", SECTIONS)
def test_servers_read_the_same_but_for_what_is_named_here(name):
    """A verdict is None where a server read the very calls that were written, which are those that we read."""
    section = SECTIONS[name]
    for text, calls, *verdicts in section["texts"]:
        for server, verdict in zip(("vllm", "sglang"), verdicts, strict=True):
            place = (section["format"], server)
            if verdict is None:
                continue
            if place == ("pythonic", "sglang"):
                # A call that holds a number below zero is lost.
                assert verdict == [call for call in calls if not NEGATIVE.search(json.dumps(call[1]))] != calls, text
                continue
            if section["format"] == "mistral_v11":
                # The call's identity is taken for a part of its name, of which SGLang then knows no tool.
                named = [[called.partition("[CALL_ID]")[0], given] for called, given in verdict]
                assert named == ([] if server == "sglang" else calls), text
                continue
            assert [called for called, _ in verdict] == [called for called, _ in calls], text
            for (_, written), (_, read) in zip(calls, verdict, strict=True):
                changed = [value for key, value in written.items() if key not in read or read[key] != value]
                assert read.keys() <= written.keys()
                assert all(map(OTHERWISE[place], changed)), text


@pytest.mark.parametrize("place", OTHERWISE)
def test_what_servers_read_otherwise_is_still_so(place):
    call_format, server = place
    verdicts = [
        row[2 if server == "vllm" else 3]
        for section in GOLD["sections"]
        if section["format"] == call_format
        for row in section["texts"]
    ]
    assert any(verdict is not None for verdict in verdicts)


def test_whoever_serves_is_told_of_what_vllm_misreads():
    misread = {section["format"] for section in GOLD["sections"] if any(row[2] for row in section["texts"])}
    assert misread == MISREAD_BY_VLLM.keys()


def test_the_parsers_that_families_name_are_there():
    for family in FAMILIES:
        for kind, parsers in (("names", family.calls), ("reasoning_names", family.thoughts)):
            for server in ("vllm", "sglang"):
                assert getattr(parsers, server) in {None, *GOLD[kind][server]}, family


@pytest.mark.parametrize("name", SECTIONS)
def test_each_was_read_by_the_parser_of_its_family(name):
    section = SECTIONS[name]
    family = next(family for family in FAMILIES if family.name == section["family"])
    if not family.name.startswith("another"):
        assert (section["vllm"], section["sglang"]) == (family.calls.vllm, family.calls.sglang)
    assert family.call_format in (None, section["format"])


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("qwen3", "Qwen 3"),
        ("qwen3_5_think", "Qwen 3.5, 3.6, 3.8"),
        ("qwen3_6", "Qwen 3.5, 3.6, 3.8"),
        ("qwen3_8", "Qwen 3.5, 3.6, 3.8"),
        ("nemotron_3_nano", "Nemotron 3, 3.5"),
        ("nemotron_3_5_lightning", "Nemotron 3, 3.5"),
        ("glm4moe", "GLM 4.5, 4.6"),
        ("gemma4", "Gemma 4"),
        ("gemma4_v5", "Gemma 4"),
        ("gptoss", "gpt-oss"),
        ("lfm2_v2", "LFM2"),
        ("lfm2_2_5", "LFM2.5"),
    ],
)
def test_sglang_itself_takes_the_same_parsers(name, family):
    row = next(row for row in FAMILIES if row.name == family)
    of_calls, of_thoughts = GOLD["detected_by_sglang"][name]
    # SGLang's `qwen` and `qwen25` are one parser.
    assert row.calls.sglang == of_calls.replace("qwen", "qwen25") if of_calls == "qwen" else of_calls
    assert row.thoughts.sglang == of_thoughts


@pytest.mark.parametrize("name", FROM_TRL)
def test_trl_reads_the_same(name, tiny_model):
    """The texts are written anew, by the templates that are installed."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    end = ENDS.get(name, "<|im_end|>")
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [end, "<|bos|>", "<turn|>", "<|tool_response>", "<tool_call|>"]}
    )
    tokenizer.eos_token, tokenizer.bos_token = end, "<|bos|>"
    tokenizer.chat_template = (STORED / f"{name}.jinja").read_text(encoding="utf-8")
    chat = Chat(tokenizer, name)
    add_response_schema(tokenizer)
    question = [Message("user", "Do it.")]
    prompt = chat.prompt(question, TOOLS)
    num_plain = 0
    for text, calls, *_ in SECTIONS[f"trl:{name}"]["texts"]:
        message = Message("assistant", "", tuple(ToolCall(*call) for call in calls))
        written = chat.answer(question, TOOLS, message)
        assert chat.strip_end(written) == text
        assert chat.parse(written, TOOLS).message == message
        values = [value for _, given in calls for value in given.values()]
        if any(TRL_MISREADS.get(SECTIONS[f"trl:{name}"]["format"], lambda value: False)(value) for value in values):
            continue
        num_plain += 1
        read = tokenizer.parse_response(written, prefix=prompt, tools=OFFERED)
        assert [[call["function"]["name"], call["function"]["arguments"]] for call in read["tool_calls"]] == calls
    assert num_plain >= 25

"""Record what vLLM's and SGLang's own parsers read of calls that models' templates wrote: writes `served_calls.json`.

    pip download --no-deps --no-binary :all: --no-build-isolation --no-clean vllm    (its build fails, its files stay)
    pip download --no-deps --only-binary :all: sglang                                (and unzip it)
    pip install --no-deps -t MORE partial-json-parser msgspec orjson ijson prometheus_client
    PYTHONPATH=MORE python make_served_calls.py --vllm FOLDER --sglang FOLDER

Not part of the test run: the tests read the file and need neither server.
"""

import argparse
import importlib.metadata
import json
import random
import re
import string
import sys
from pathlib import Path

import trl
from server_parsers import Sglang, Vllm
from transformers import AutoTokenizer

from calltune.calling.chat import Chat
from calltune.calling.families import family_of
from calltune.calling.layout import tool_dict
from calltune.errors import ModelError
from calltune.types import Message, Tool, ToolCall

HERE = Path(__file__).parent
STORED, OWN = Path(trl.__path__[0]) / "chat_templates", HERE.parent / "material" / "templates"
DEEPSEEK = tuple(
    f"<\uff5ctool\u2581{mark}\uff5c>"
    for mark in ("calls\u2581begin", "calls\u2581end", "call\u2581begin", "call\u2581end", "sep")
)
# What else ends an answer somewhere; a real tokenizer has these as its own tokens.
ENDS = ("<turn|>", "<|tool_response>", "<tool_call|>", "<end_of_turn>", "<start_function_response>", "<|call|>")
# Each with the token that ends its turns, and those without which a server's parser refuses to begin. `vllm:` is a
# template that vLLM's package brings along.
TEMPLATES = {
    "trl:qwen3": ("<|im_end|>",),
    "own:hermes": ("<|im_end|>",),
    "vllm:hermes": ("<|im_end|>",),
    "trl:qwen3_5_nothink": ("<|im_end|>",),
    "trl:nemotron_3_nano": ("<|im_end|>",),
    "trl:glm4moe": ("<|endoftext|>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    "trl:lfm2_v2": ("<|im_end|>", "<|tool_call_start|>", "<|tool_call_end|>"),
    "trl:lfm2_2_5": ("<|im_end|>", "<|tool_call_start|>", "<|tool_call_end|>"),
    "trl:llama3_2": ("<|eot_id|>", "<|python_tag|>"),
    "own:mistral": ("</s>", "[TOOL_CALLS]"),
    "vllm:gemma3_pythonic": ("<end_of_turn>",),
    "own:xlam": ("<|im_end|>",),
    "trl:gemma4_v5": ("<eos>", "<|tool_call>", "<tool_call|>", '<|"|>'),
    "own:functiongemma": ("<eos>", "<start_function_call>", "<end_function_call>", "<escape>"),
    "trl:muse_glimmer": ("<|eot|>",),
    "own:deepseek_v3": ("<|im_end|>", *DEEPSEEK),
    "own:deepseek_v31": ("<|im_end|>", *DEEPSEEK),
    "own:mistral_v11": ("</s>", "[TOOL_CALLS]", "[ARGS]"),
    "own:granite": ("<|im_end|>", "<|tool_call|>"),
}
# SGLang names parsers by a template and by the vocabulary, so that these marks of a template become tokens.
MARK = re.compile(r"</?[a-z_]+>|<\|[a-z_]+\|>|<\|[a-z]+>")
NUM_TEXTS = 200  # of the first template of a format
NUM_MORE = 50  # of a further one
TOOLS = (
    Tool(
        "do_it",
        "Do it.",
        {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "choice": {"type": "string", "enum": ["north", "south"]},
                "count": {"type": "integer"},
                "ratio": {"type": "number"},
                "flag": {"type": "boolean"},
                "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                "names": {"type": "array", "items": {"type": "string"}},
                "place": {"type": "object"},
            },
        },
    ),
    Tool("find_place", "Find it.", {"type": "object", "properties": {"city": {"type": "string"}}}),
)
QUESTION = Message("user", "Do it.")
LETTERS = string.ascii_letters + string.digits + " .,:;-_äß東🙂'\"\\{}[]()/&%$#@!?=+*\n"


def text_of(chance):
    return "".join(chance.choices(LETTERS, k=chance.randint(1, 8))).strip() or "x"


def call_of(chance):
    if chance.random() < 0.2:
        return ToolCall("find_place", {"city": text_of(chance)})
    draw = {
        "text": text_of(chance),
        "choice": chance.choice(["north", "south"]),
        "count": chance.randint(-(10**6), 10**6),
        "ratio": chance.choice([0.5, -2.25, 1e-7, 3.0]),
        "flag": chance.random() < 0.5,
        "maybe": chance.choice([None, 7]),
        "names": [text_of(chance) for _ in range(chance.randint(0, 2))],
        "place": {"x": chance.choice([1.5, -4]), text_of(chance): [True, None, text_of(chance)]},
    }
    return ToolCall("do_it", {name: draw[name] for name in chance.sample(list(draw), chance.randint(1, 2))})


def tokenizer_of(file, tokens):
    tokenizer = AutoTokenizer.from_pretrained(HERE.parents[1] / "examples" / "tiny-qwen3")
    tokenizer.add_special_tokens({"additional_special_tokens": [tokens[0], "<|bos|>", *ENDS]})
    tokenizer.add_tokens(tokens[1:])
    tokenizer.eos_token, tokenizer.bos_token = tokens[0], "<|bos|>"
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    return tokenizer


def chat_of(name, vllm):
    kind, _, stem = name.partition(":")
    folder = {"trl": STORED, "own": OWN, "vllm": vllm / "examples"}[kind]
    file = folder / (f"tool_chat_template_{stem}.jinja" if kind == "vllm" else f"{stem}.jinja")
    return Chat(tokenizer_of(file, list(TEMPLATES[name])), name)


def detected(sglang):
    """What SGLang itself takes for each of TRL's templates: its parsers of calls and of thoughts."""
    files = [file for file in sorted(STORED.glob("*.jinja")) if not file.stem.endswith("_training")]
    marks = {file: sorted({*MARK.findall(file.read_text(encoding="utf-8"))}) for file in files}
    return {file.stem: sglang.detected(tokenizer_of(file, ["<|im_end|>", *marks[file]])) for file in files}


def written_calls(chat, count, chance):
    """Give texts and the calls they were written from; and count the calls that the template itself does not keep."""
    rows, num_lost = [], 0
    while len(rows) < count:
        calls = tuple(call_of(chance) for _ in range(chance.choice([1, 1, 1, 2])))
        try:
            text = chat.answer([QUESTION], TOOLS, Message("assistant", "", calls))
        except ModelError:
            # Some templates take one call at a time.
            calls = calls[:1]
            text = chat.answer([QUESTION], TOOLS, Message("assistant", "", calls))
        if chat.parse(text, TOOLS).message == Message("assistant", "", calls):
            rows.append((chat.strip_end(text), [[call.name, dict(call.arguments)] for call in calls]))
        else:
            num_lost += 1
    return rows, num_lost


def verdict(server, parser, text, calls, chat):
    """Return None where a server reads the calls that were written, else the calls that it reads, or its error."""
    try:
        read, _ = server.calls(parser, text, [tool_dict(tool) for tool in TOOLS], chat.tokenizer)
    except Exception as error:  # noqa: BLE001  # whatever it raises is its verdict
        return f"{type(error).__name__}: {error}"[:200]
    return None if read == calls else read


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--vllm", type=Path, required=True)
    asked.add_argument("--sglang", type=Path, required=True)
    folders = asked.parse_args()
    servers = {"vllm": Vllm(folders.vllm), "sglang": Sglang(folders.sglang)}
    packages = {
        "vllm": importlib.metadata.PathDistribution(folders.vllm).version,
        "sglang": importlib.metadata.PathDistribution(next(folders.sglang.glob("sglang-*.dist-info"))).version,
        **{name: importlib.metadata.version(name) for name in ("trl", "transformers")},
    }
    sections = []
    for name in TEMPLATES:
        chat = chat_of(name, folders.vllm)
        family = family_of(chat)
        is_first = all(section["format"] != chat.call_format for section in sections)
        rows, num_lost = written_calls(chat, NUM_TEXTS if is_first else NUM_MORE, random.Random(name))
        section = {"template": name, "family": family.name, "format": chat.call_format, "num_lost": num_lost}
        names = {"vllm": family.calls.vllm, "sglang": family.calls.sglang}
        section |= names
        section["texts"] = [
            [text, calls, *(names[key] and verdict(servers[key], names[key], text, calls, chat) for key in servers)]
            for text, calls in rows
        ]
        sections.append(section)
        counts = {
            key: sum(row[place] is not None for row in section["texts"]) for place, key in ((2, "vllm"), (3, "sglang"))
        }
        print(name, names, f"differ: {counts}, not kept by the template: {num_lost}", file=sys.stderr)
    gold = {
        "made_by": packages,
        "stand_ins": {key: sorted(server.missing) for key, server in servers.items()},
        "names": {key: sorted(server.names) for key, server in servers.items()},
        "reasoning_names": {key: sorted(server.reasoning_names) for key, server in servers.items()},
        "detected_by_sglang": detected(servers["sglang"]),
        "tools": [tool_dict(tool)["function"] for tool in TOOLS],
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in gold.items()]
    parts = []
    for section in sections:
        head = json.dumps({key: value for key, value in section.items() if key != "texts"})[:-1]
        texts = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in section["texts"])
        parts.append(f'{head}, "texts": [\n{texts}]}}')
    lines.append('"sections": [\n' + ",\n".join(parts) + "]")
    (HERE / "served_calls.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

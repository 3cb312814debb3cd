"""The code of a model card that reads an export's `decide.json`; it needs nothing but transformers."""

_CODE = '''\
import copy
import json
import math
import pathlib
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = FOLDER
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
known = json.loads(pathlib.Path(folder, "decide.json").read_text(encoding="utf-8"))


@torch.no_grad()
def decide(messages, tools):
    """What the model would do, and how likely each behaviour is."""
    keys = {"add_generation_prompt": True, "tokenize": True, "return_dict": False, "enable_thinking": False}
    prompt = tokenizer.apply_chat_template(messages, tools=tools or None, **keys)
    # The prompt is computed once; what stands before the last token of a beginning goes on from there.
    cache = model(torch.tensor([prompt[:-1]]), use_cache=True).past_key_values
    nexts, names = {}, known["behaviors"]
    chances = dict.fromkeys(names, 0.0)
    for beginning in known["beginnings"]:
        *read, last = beginning["tokens"]
        if tuple(read) not in nexts:
            rest = torch.tensor([[prompt[-1], *read]])
            logits = model(rest, past_key_values=copy.deepcopy(cache)).logits[0].float()
            nexts[tuple(read)] = logits.log_softmax(-1)
        rows = nexts[tuple(read)]
        chance = math.exp(sum(float(rows[place, token]) for place, token in enumerate([*read, last])))
        number = sum(beginning["counts"].values())
        for name, count in beginning["counts"].items():
            chances[name] += chance * count / number
    table, inside = known["calibration"], sum(chances.values()) or 1.0
    values = [
        math.log(max(chances[name] / inside, table["least"])) / table["temperature"] + table["biases"][name]
        for name in names
    ]
    powers = [math.exp(value - max(values)) for value in values]
    likely = {name: power / sum(powers) for name, power in zip(names, powers)}
    others = [name for name in names if name != "tool_call"]
    calls = likely["tool_call"] >= table["threshold"]
    return "tool_call" if calls else max(others, key=likely.get), likely
'''


def decide_snippet(folder: str) -> str:
    """Python code that decides with the model of a folder.

    Args:
        folder: its name, seen from where the code is run.
    """
    return _CODE.replace("FOLDER", repr(folder)).rstrip()

"""A run folder as the stages leave it, written in a second: what a report is made from."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.evaluation.answers import count
from calltune.evaluation.benchmarks import when2call, when2call_generation
from calltune.evaluation.jobs import questions_sha256
from calltune.files.json_lines import write_json, write_jsonl
from calltune.files.manifest import versions
from calltune.types import BEHAVIORS, Completion, Message, Sample, ToolCall

SKILL = {"base": 0.3, "sft": 0.5, "dpo": 0.8}
HOSTILE_TOOL = "<script>alert(1)</script>"
HOSTILE_ANSWER = "</script><img src=x onerror=alert(2)> \u202egnp.exe\u202c <!-- {{ 7*7 }}"


def plant_questions(file: Path, number: int) -> None:
    """Questions in When2Call's layout, the four behaviours in turn; the first offers a hostile tool."""
    rows = []
    for place in range(number):
        name = HOSTILE_TOOL if place == 0 else f"book_{place % 97}"
        schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        tool = {"name": name, "description": f"Books number {place} & more.", "parameters": schema}
        answers = {behavior: f"An answer of the kind {behavior}, number {place}." for behavior in BEHAVIORS}
        answers["tool_call"] = json.dumps({"name": name, "arguments": {"city": f"City {place}"}})
        rows.append(
            {
                "uuid": f"q-{place}",
                "question": f"Question {place}: please book a room in City {place}. " + "And tell me more. " * 10,
                "correct_answer": BEHAVIORS[place % 4],
                "answers": answers,
                "tools": [] if place % 12 == 3 else [json.dumps(tool)],
            }
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def plant_run(folder: Path, number: int = 40, skill: Mapping[str, float] = SKILL, model: str = "m") -> Path:
    """A run of two benchmarks and three checkpoints; `skill` is how often each is right, the same in both."""
    plant_questions(folder / "data" / "test.jsonl", number)
    trained = {"stages": ["sft", "dpo"], "mine": None}
    write_json(folder / "config.json", {"name": folder.name, "model": model, **trained})
    settings = {"path": str(folder / "data" / "test.jsonl")}
    for module in (when2call, when2call_generation):
        samples = list(module.samples(module.Settings(**settings)))
        for checkpoint, share in skill.items():
            generator = random.Random(f"{checkpoint} {module.__name__}")
            answer = _ranked if module is when2call else _written
            completions = [answer(sample, generator, share) for sample in samples]
            plant_evaluation(folder, module, samples, completions, checkpoint)
    for stage in ("data", "sft", "dpo"):
        counts = {"rows_read": 9} if stage == "data" else {"rows": 9, "tokens": 900, "answer_tokens": 90}
        facts = {"stage": stage, "inputs": {"seed": 0}, "counts": counts, "versions": versions()}
        training = {"steps": 4, "train_seconds": 1.5, "trainable_share": 1.0} if stage != "data" else {}
        write_json(folder / stage / "manifest.json", {**facts, **training})
        log = [{"step": step, "loss": 2 / step, "rewards/margins": 0.1 * step} for step in range(1, 5)]
        if stage != "data":
            write_json(folder / stage / "history.json", {"log": log})
            # Of the first stage the start alone is known.
            guarded = {
                "behavior_accuracy": 0.5,
                "exact_call_rate": 0.25,
                "malformed_rate": 0.0,
                "recall_tool_call": 0.5,
            }
            checks = [{"step": step, "metrics": guarded} for step in ((0,) if stage == "sft" else (0, 2, 4))]
            write_json(folder / stage / "guard.json", {"checks": checks})
    return folder


def plant_evaluation(
    folder: Path, module: ModuleType, samples: Sequence[Sample], completions: Sequence[Completion], checkpoint: str
) -> None:
    """The folder that `evaluate` writes for one checkpoint and one benchmark."""
    title = module.__name__.rpartition(".")[2]
    place = folder / "eval" / checkpoint / title
    scores = module.score_all(samples, completions, None, place)
    summary = module.summarize(samples, completions, scores)
    result: dict[str, Any] = {
        **{"benchmark": title, "checkpoint": checkpoint, "prompt": "chat_template", **count(completions, scores)},
        **asdict(summary),
        **{"versions": versions(), "data_sha256": questions_sha256(samples)},
    }
    write_jsonl(place / "completions.jsonl", completions)
    write_jsonl(place / "scores.jsonl", scores)
    write_json(place / "result.json", result)
    write_json(place / "manifest.json", {"inputs": {}, "seconds": 1.0, "versions": versions()})


def _ranked(sample: Sample, generator: random.Random, share: float) -> Completion:
    best = sample.target if generator.random() < share else generator.choice(BEHAVIORS)
    logprobs = {label: -20 - 20 * generator.random() + 25 * (label == best) for label in sample.choices}
    return Completion(sample.id, None, "", "ok", logprobs, dict.fromkeys(sample.choices, 40))


def _written(sample: Sample, generator: random.Random, share: float) -> Completion:
    if sample.id == "q-0":
        return Completion(sample.id, Message("assistant", HOSTILE_ANSWER), HOSTILE_ANSWER, "ok")
    right = sample.behavior
    shown = right if generator.random() < share else generator.choice((*BEHAVIORS, "malformed"))
    if shown == "malformed":
        return Completion(sample.id, None, '{"name": "book', "malformed", reason="the call is not valid JSON")
    if shown == "tool_call":
        call = ToolCall(sample.tools[0].name if sample.tools else "none", {"city": "Rome"})
        return Completion(sample.id, Message("assistant", "", (call,)), f'call {call.name}("Rome")', "ok")
    words = {"direct": "It is four.", "request_for_info": "Which day?", "cannot_answer": "I can't do that."}
    return Completion(sample.id, Message("assistant", words[shown]), words[shown], "ok")


def run_file(folder: Path, extra: str = "") -> Path:
    """A run file whose run is in `folder`."""
    file = folder.parent / f"{folder.name}.toml"
    file.write_text(
        f'name = "{folder.name}"\nmodel = "m"\noutput = "{folder.parent}"\n'
        '[[data.sources]]\nname = "synthetic"\n[tracking]\nmlflow = false\n'
        '[[evaluate.benchmarks]]\nname = "when2call"\npath = "{run}/data/test.jsonl"\n'
        '[[evaluate.benchmarks]]\nname = "when2call_generation"\npath = "{run}/data/test.jsonl"\n' + extra
    )
    return file

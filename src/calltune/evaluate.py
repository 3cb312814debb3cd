"""`calltune evaluate`: ask every checkpoint every benchmark; samples -> completions -> scores -> result.

Completions are appended as they come, so a killed evaluation goes on where it stopped.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.backends import BACKENDS
from calltune.benchmarks import BENCHMARKS, Summary
from calltune.config import Config, Entry, Table, parse_options
from calltune.family import load_module
from calltune.manifest import begin, claim_run_folder, finish, is_complete, model_sha256, value_sha256, versions
from calltune.rows import completion_from, read_appended, to_json, write_json, write_jsonl
from calltune.terminal import ProgressBar, say
from calltune.tracking import track
from calltune.types import Completion, Sample, Score, ScoringRequest

_SAMPLES_BETWEEN_SAVES = 64


def open_benchmarks(config: Config) -> list[tuple[Entry, ModuleType, Table]]:
    """Each benchmark of the run file with its module and its checked settings; `{run}` in values is the run's folder.

    Raises:
        ConfigError: an unknown benchmark, or a wrong key of one.
    """
    opened = []
    for number, entry in enumerate(config.evaluate.benchmarks):
        module = load_module("benchmark", BENCHMARKS, entry.name)
        options = {
            key: value.replace("{run}", str(config.run_folder)) if isinstance(value, str) else value
            for key, value in entry.options.items()
        }
        where = f"evaluate.benchmarks.{number} ({entry.name})"
        opened.append((entry, module, parse_options(module.Settings, options, where)))
    return opened


def existing_checkpoints(config: Config) -> list[str]:
    """Those of the run file's checkpoints that are there: the base always, a stage once its manifest is written."""
    return [
        name
        for name in config.evaluate.checkpoints
        if name == "base" or (config.run_folder / name / "manifest.json").exists()
    ]


def run(config: Config) -> Path:
    """Write `eval/<checkpoint>/<benchmark>/` for every checkpoint that exists.

    Returns:
        The `eval` folder. What is complete and unchanged is left as it is.

    Raises:
        CalltuneError: a benchmark, its data, a model or the folder is wrong.
    """
    benchmarks = open_benchmarks(config)
    folder = claim_run_folder(config) / "eval"
    asked = [(entry, module, settings, list(module.samples(settings))) for entry, module, settings in benchmarks]
    for checkpoint in existing_checkpoints(config):
        model = config.checkpoint_folder(checkpoint)
        identity = model_sha256(model)
        backend = None
        for entry, module, settings, samples in asked:
            place = folder / checkpoint / entry.name
            data = value_sha256([asdict(sample) for sample in samples])
            inputs = {"model": identity, "data": data, "settings": settings.model_dump(mode="json", exclude={"path"})}
            if is_complete(place, inputs):
                say(f"evaluate: {checkpoint} on {entry.name} complete and unchanged, skipped")
                continue
            if moved := begin(place, inputs):
                say(moved)
            if backend is None:
                backend = load_module("backend", BACKENDS, config.evaluate.backend).Backend(
                    model, tokens_per_batch=config.evaluate.tokens_per_batch
                )
            start = time.monotonic()
            completions = _complete(
                backend, samples, settings, place / "completions.jsonl", f"{checkpoint} {entry.name}"
            )
            result = _conclude(module, entry.name, checkpoint, samples, completions, place, data)
            finish(place, inputs, seconds=round(time.monotonic() - start, 1))
            _record(config, checkpoint, entry.name, result)
    return folder


def _complete(
    backend: Any, samples: Sequence[Sample], settings: Table, file: Path, description: str
) -> list[Completion]:
    """Every sample's completion, in the order of the samples; those already in the file are taken from it."""
    done = {row["sample_id"]: completion_from(row) for row in read_appended(file)}
    # Long prompts first, side by side with those of their length: least padding, and the worst memory comes at once.
    open_samples = sorted((s for s in samples if s.id not in done), key=_num_characters, reverse=True)
    with ProgressBar(f"evaluating {description}", len(samples), len(samples) - len(open_samples)) as bar:
        for start in range(0, len(open_samples), _SAMPLES_BETWEEN_SAVES):
            part = open_samples[start : start + _SAMPLES_BETWEEN_SAVES]
            completions = _ask(backend, part, settings)
            with file.open("a", encoding="utf-8", errors="backslashreplace") as lines:
                lines.writelines(to_json(completion) + "\n" for completion in completions)
            done |= {completion.sample_id: completion for completion in completions}
            bar.advance(len(part))
    return [done[sample.id] for sample in samples]


def _ask(backend: Any, samples: Sequence[Sample], settings: Table) -> list[Completion]:
    if not samples[0].choices:
        return backend.answer(samples, max_new_tokens=getattr(settings, "max_new_tokens", 256))
    chat = backend.chat
    requests = [
        ScoringRequest(
            chat.prompt(sample.messages, sample.tools),
            tuple(
                chat.strip_end(chat.answer(sample.messages, sample.tools, choice)) for choice in sample.choices.values()
            ),
        )
        for sample in samples
    ]
    return [
        Completion(
            sample.id,
            None,
            "",
            "ok",
            logprobs=dict(zip(sample.choices, values, strict=True)),
            num_characters=dict(zip(sample.choices, map(len, request.continuations), strict=True)),
        )
        for sample, request, values in zip(samples, requests, backend.loglikelihood(requests), strict=True)
    ]


def _conclude(
    module: ModuleType,
    benchmark: str,
    checkpoint: str,
    samples: Sequence[Sample],
    completions: Sequence[Completion],
    place: Path,
    data_sha256: str,
) -> dict[str, Any]:
    scores = [module.score(sample, completion) for sample, completion in zip(samples, completions, strict=True)]
    summary: Summary = module.summarize(samples, completions, scores)
    result = {
        "benchmark": benchmark,
        "checkpoint": checkpoint,
        "prompt": module.PROMPT,
        **count(completions, scores),
        "primary_metric": summary.primary_metric,
        "metrics": summary.metrics,
        "intervals": summary.intervals,
        "confusion": summary.confusion,
        "versions": versions(),
        "data_sha256": data_sha256,
    }
    # Appended in the order of the batches; kept in the order of the samples.
    write_jsonl(place / "completions.jsonl", completions)
    write_jsonl(place / "scores.jsonl", scores)
    write_json(place / "result.json", result)
    return result


def count(completions: Sequence[Completion], scores: Sequence[Score]) -> dict[str, int]:
    """Every sample in exactly one bin: correct, wrong, malformed, truncated, error."""
    bins = Counter[str]()
    for completion, score in zip(completions, scores, strict=True):
        if score.value is None:
            bins["errors"] += 1
        elif score.value == 1:
            bins["correct"] += 1
        else:
            bins[completion.status if completion.status in ("malformed", "truncated") else "wrong"] += 1
    names = ("correct", "wrong", "malformed", "truncated", "errors")
    return {"num_samples": len(scores), **{f"num_{name}": bins[name] for name in names}}


def _record(config: Config, checkpoint: str, benchmark: str, result: dict[str, Any]) -> None:
    with track(config, f"evaluate-{checkpoint}-{benchmark}") as tracker:
        tracker.parameters({"checkpoint": checkpoint, "benchmark": benchmark, "prompt": result["prompt"]})
        tracker.metrics({key: value for key, value in result["metrics"].items() if value is not None})
        tracker.metrics({key: value for key, value in result.items() if key.startswith("num_")})


def _num_characters(sample: Sample) -> int:
    return sum(len(message.content) for message in sample.messages) + sum(len(str(tool)) for tool in sample.tools)

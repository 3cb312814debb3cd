"""`calltune evaluate`: ask every checkpoint every benchmark; samples -> completions -> scores -> result.

Completions are appended as they come, so a killed evaluation goes on where it stopped.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from calltune.backends import BACKENDS
from calltune.benchmarks import BENCHMARKS, Summary
from calltune.config import Config, Entry
from calltune.errors import ConfigError, ModelError
from calltune.family import load_module, open_entries
from calltune.gate import require_metric
from calltune.manifest import (
    begin,
    claim_run_folder,
    finish,
    is_complete,
    model_sha256,
    template_sha256,
    value_sha256,
    versions,
)
from calltune.options import parse_options
from calltune.processes import Processes, processes
from calltune.rows import completion_from, read_appended, to_json, write_json, write_jsonl
from calltune.terminal import ProgressBar, say
from calltune.tracking import track
from calltune.types import Completion, Sample, Score

SAMPLES_BETWEEN_SAVES = 64
_MOST_ERRORS = 0.01


@dataclass(frozen=True, slots=True)
class Job:
    """One benchmark with its questions, to be asked of each checkpoint."""

    title: str
    module: ModuleType
    settings: Any
    samples: list[Sample]
    data_sha256: str


def open_benchmarks(config: Config) -> list[tuple[Entry, ModuleType, Any]]:
    """Each benchmark of the run file with its module and its checked settings.

    Raises:
        ConfigError: an unknown benchmark, a wrong key of one, or a rule of the gate about a metric that none gives.
    """
    entries = config.evaluate.benchmarks
    opened = open_entries("benchmark", BENCHMARKS, entries, "evaluate.benchmarks", config.run_folder)
    # A module of the user's own may leave them out; then the report is the first to know.
    known = {e.title: m.metric_names(settings) for e, m, settings in opened if hasattr(m, "metric_names")}
    for rule in config.gate.parsed:
        if rule.benchmark in known:
            require_metric(rule, known[rule.benchmark])
    return opened


def open_backend(config: Config) -> tuple[ModuleType, dict[str, Any]]:
    """The backend's module, and what its `Backend` takes beside the model.

    Raises:
        ConfigError: an unknown backend, or a wrong key of one.
    """
    module = load_module("backend", BACKENDS, config.evaluate.backend, "evaluate.backend")
    keys = config.evaluate.backend_options
    options = {"tokens_per_batch": config.evaluate.tokens_per_batch, "chat_template": config.chat_template}
    if not hasattr(module, "Settings"):
        if keys:
            raise ConfigError(f"evaluate.backend_options: the backend '{config.evaluate.backend}' has no keys")
        return module, options
    return module, {**options, "settings": parse_options(module.Settings, keys, "evaluate.backend_options")}


def existing_checkpoints(config: Config) -> list[str]:
    """Those of the run file's checkpoints that are there: the base always, a stage once its manifest is written."""
    return [
        name
        for name in config.evaluate.checkpoints or config.checkpoints
        if name == "base" or (config.run_folder / name / "manifest.json").exists()
    ]


def run(config: Config) -> Path:
    """Write `eval/<checkpoint>/<benchmark>/` for every checkpoint that exists.

    Returns:
        The `eval` folder. What is complete and unchanged is left as it is.

    Raises:
        CalltuneError: a benchmark, its data, a model or the folder is wrong.
    """
    open_benchmarks(config)
    folder = processes().first(lambda: claim_run_folder(config)) / "eval"
    jobs = read_jobs(config)
    for checkpoint in existing_checkpoints(config):
        _evaluate(config, checkpoint, jobs, folder / checkpoint)
    return folder


def read_jobs(config: Config) -> list[Job]:
    """Every benchmark of the run file with its questions.

    Raises:
        CalltuneError: a benchmark or its data is wrong.
    """
    jobs = []
    for entry, module, settings in open_benchmarks(config):
        samples = list(module.samples(settings))
        data = value_sha256([asdict(sample) for sample in samples])
        jobs.append(Job(entry.title, module, settings, samples, data))
    return jobs


def _evaluate(config: Config, checkpoint: str, jobs: Sequence[Job], folder: Path) -> None:
    model, ours = config.checkpoint_folder(checkpoint), processes()
    identity, backend = model_sha256(model), None
    module, options = open_backend(config)
    keys = options["settings"].model_dump(mode="json") if "settings" in options else {}
    for job in jobs:
        place = folder / job.title
        settings = job.settings.model_dump(mode="json", exclude={"path"})
        inputs = {
            "model": identity,
            "data": job.data_sha256,
            "settings": settings,
            "chat template": template_sha256(config),
            "backend": {"name": config.evaluate.backend, **keys},
        }
        complete = is_complete(place, inputs, "result.json", "scores.jsonl")
        # Nobody may write before all have looked.
        ours.wait()
        if complete:
            say(f"evaluate: {checkpoint} on {job.title} complete and unchanged, skipped")
            continue
        start = time.monotonic()
        if backend is None:
            # Before anything is written: a model that cannot be asked leaves nothing behind.
            backend = module.Backend(model, **options)
        with track(config, f"evaluate-{checkpoint}-{job.title}", inputs) as tracker:
            if ours.rank == 0 and (moved := begin(place, inputs)):
                say(moved)
            ours.wait()
            _complete(backend, job, place, f"{checkpoint} {job.title}", ours)
            ours.wait()
            result = ours.first(partial(_finish, backend, job, checkpoint, place, inputs, start))
            tracker.parameters({"checkpoint": checkpoint, "benchmark": job.title, "prompt": result["prompt"]})
            tracker.metrics({key: value for key, value in result["metrics"].items() if value is not None})
            tracker.metrics({key: value for key, value in result.items() if key.startswith("num_")})
            tracker.file(place / "result.json")


def _finish(
    backend: Any, job: Job, checkpoint: str, place: Path, inputs: dict[str, Any], start: float
) -> dict[str, Any]:
    done = _completions_in(place)
    completions = [done[sample.id] for sample in job.samples]
    prompt = job.module.prompt_name(job.settings, backend.chat)
    result = _conclude(job, checkpoint, prompt, completions, place)
    finish(place, inputs, seconds=round(time.monotonic() - start, 1))
    return result


def _completions_in(place: Path) -> dict[str, Completion]:
    """What was answered already, by sample, whichever process wrote it."""
    rows = (row for file in sorted(place.glob("completions*.jsonl")) for row in read_appended(file))
    found: dict[str, Completion] = {}
    for row in rows:
        # What failed is asked again, and its failure may stand in another process's file, read later.
        if row["status"] != "error" or row["sample_id"] not in found:
            found[row["sample_id"]] = completion_from(row)
    return found


def _complete(backend: Any, job: Job, place: Path, description: str, ours: Processes) -> None:
    """Append what is still missing to this process's file of completions, its share of the samples."""
    done = {key for key, completion in _completions_in(place).items() if completion.status != "error"}
    ours.wait()
    file = place / ("completions.jsonl" if ours.count == 1 else f"completions-{ours.rank}.jsonl")
    # Long prompts first, side by side with those of their length: least padding, and the worst memory comes at once.
    left = sorted((s for s in job.samples if s.id not in done), key=num_characters, reverse=True)[
        ours.rank :: ours.count
    ]
    share = len(job.samples) // ours.count
    with ProgressBar(f"evaluating {description}", max(share, len(left)), max(0, share - len(left))) as bar:
        for start in range(0, len(left), SAMPLES_BETWEEN_SAVES):
            part = left[start : start + SAMPLES_BETWEEN_SAVES]
            completions = ask(backend, job, part)
            with file.open("a", encoding="utf-8", errors="backslashreplace") as lines:
                lines.writelines(to_json(completion) + "\n" for completion in completions)
            bar.advance(len(part))


def ask(backend: Any, job: Job, samples: Sequence[Sample]) -> list[Completion]:
    """Ask a checkpoint some of a benchmark's questions: what it answers, or how likely each choice is."""
    if not samples[0].choices:
        return backend.answer(samples, max_new_tokens=job.settings.max_new_tokens)
    if backend.chat is None:
        # Such a backend has no likelihoods, and says so.
        backend.loglikelihood([])
    requests = [job.module.scoring_request(sample, job.settings, backend.chat) for sample in samples]
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


def _conclude(job: Job, checkpoint: str, prompt: str, completions: Sequence[Completion], place: Path) -> dict[str, Any]:
    failed = [completion for completion in completions if completion.status == "error"]
    if len(failed) > _MOST_ERRORS * len(completions):
        # Kept on the disk all the same: run again, and only these are asked again.
        raise ModelError(
            f"{len(failed)} of {len(completions)} questions of {job.title} could not be answered, the first because "
            f"{failed[0].reason}; run again to go on"
        )
    if hasattr(job.module, "score_all"):
        scores = job.module.score_all(job.samples, completions, job.settings, place)
    else:
        scores = [job.module.score(s, c) for s, c in zip(job.samples, completions, strict=True)]
    summary: Summary = job.module.summarize(job.samples, completions, scores)
    result = {
        "benchmark": job.title,
        "checkpoint": checkpoint,
        "prompt": prompt,
        **count(completions, scores),
        "primary_metric": summary.primary_metric,
        "metrics": summary.metrics,
        "intervals": summary.intervals,
        "confusion": summary.confusion,
        "versions": versions(),
        "data_sha256": job.data_sha256,
    }
    # Appended in the order of the batches; kept in the order of the samples.
    write_jsonl(place / "completions.jsonl", completions)
    for part in place.glob("completions-*.jsonl"):
        part.unlink()
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


def num_characters(sample: Sample) -> int:
    """Of a question and its tools, which stand for its tokens."""
    return sum(len(message.content) for message in sample.messages) + sum(len(str(tool)) for tool in sample.tools)

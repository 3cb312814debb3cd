"""`calltune evaluate`: ask every checkpoint every benchmark; samples -> completions -> scores -> result.

Completions are appended as they come, so a killed evaluation goes on where it stopped.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from calltune.calling.chat import Chat
from calltune.config.run_file import Config
from calltune.deciding.making import decision_of, rows_inputs
from calltune.errors import ModelError
from calltune.evaluation import decisions
from calltune.evaluation.answers import (
    MOST_ERRORS,
    answer_the_rest,
    answered,
    completions_of,
    count,
    count_thoughts,
    keep_in_order,
    score_from,
)
from calltune.evaluation.benchmarks import check_stated, decides, is_free
from calltune.evaluation.jobs import Job, ask, open_backend, open_benchmarks, read_jobs
from calltune.evaluation.records import COMPLETIONS, SCORES, can_be_kept, is_whole, mend
from calltune.evaluation.room import cut_off, known_answers
from calltune.files.json_lines import read_own_jsonl, write_json, write_jsonl
from calltune.files.manifest import (
    begin,
    claim_run_folder,
    finish,
    is_complete,
    model_sha256,
    template_sha256,
    versions,
)
from calltune.files.tracking import track
from calltune.models.backends import OpenedBackend
from calltune.report.in_mlflow import answer_table
from calltune.runtime.processes import processes
from calltune.runtime.terminal import say
from calltune.types import Completion


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
    chosen = [job.title for job in jobs if job.module.scoring_request is not None]
    if config.chat.thinking != "off" and chosen:
        say(f"evaluate: {', '.join(chosen)}: likelihoods of written answers are those with thinking off")
    told: set[str] = set()
    for checkpoint in existing_checkpoints(config):
        _evaluate(config, checkpoint, jobs, folder / checkpoint, told)
    return folder


def _evaluate(config: Config, checkpoint: str, jobs: Sequence[Job], folder: Path, told: set[str]) -> None:
    """Ask one checkpoint all; `told` are the titles of which it was told that there is no room for an answer."""
    model, ours = config.checkpoint_folder(checkpoint), processes()
    identity, backend = model_sha256(model), None
    load, keys = open_backend(config)
    for job in jobs:
        place = folder / job.title
        settings = job.settings.model_dump(mode="json", exclude={"path"})
        inputs = {
            "model": identity,
            "data": job.data_sha256,
            "settings": settings,
            "chat template": template_sha256(config),
            "backend": {"name": config.evaluate.backend, **keys},
            **job.inputs(),
            **({"decision": rows_inputs(config)} if decides(job.module) else {}),
        }
        complete = is_complete(place, inputs, "result.json", COMPLETIONS, SCORES)
        complete = complete and is_whole(place, job.samples, partial(job.module.summarize, job.samples))
        # Nobody may write before all have looked.
        ours.wait()
        if complete:
            say(f"evaluate: {checkpoint} on {job.title} complete and unchanged, skipped")
            continue
        start = time.monotonic()
        if backend is None:
            # Before anything is written: a model that cannot be asked leaves nothing behind.
            backend = load(model)
        if decides(job.module):
            decisions.deciding(backend)
        _tell_room(job, getattr(backend, "chat", None), told)
        with track(config, f"evaluate-{checkpoint}-{job.title}", inputs) as tracker:
            ours.first(partial(_begin, place, inputs, job))
            # What failed is asked again.
            done = {key for key, one in answered(place / COMPLETIONS).items() if one.status != "error"}
            asking = partial(ask, backend, job)
            if decides(job.module):
                decision = ours.first(partial(decision_of, config, checkpoint, lambda loaded=backend: loaded))
                asking = partial(decisions.completions, backend, decision)
            title = f"evaluating {checkpoint} {job.title}"
            answer_the_rest(place / COMPLETIONS, job.samples, done, asking, title, ours)
            ours.wait()
            result = ours.first(partial(_finish, backend, job, checkpoint, place, inputs, start))
            asked_from = str(getattr(job.settings, "path", None) or "")
            tracker.dataset(asked_from, job.data_sha256, "evaluation", job.title)
            tracker.parameters({"checkpoint": checkpoint, "benchmark": job.title, "prompt": result["prompt"]})
            tracker.metrics({key: value for key, value in result["metrics"].items() if value is not None})
            tracker.metrics({key: value for key, value in result.items() if key.startswith("num_")})
            tracker.file(place / "result.json")
            if config.tracking.mlflow and ours.rank == 0:
                tracker.table("answers.json", _table(job, checkpoint, place))


def _tell_room(job: Job, chat: Chat | None, told: set[str]) -> None:
    """Tell once of a known answer for which there is no room; a server that writes the prompts has no `chat`."""
    if chat is None or job.title in told or not is_free(job.module):
        return
    told.add(job.title)
    if line := cut_off(chat, known_answers(job), job.settings.max_new_tokens, "max_new_tokens"):
        say(f"warning: evaluate: {job.title}: {line}")


def _table(job: Job, checkpoint: str, place: Path) -> dict[str, list[str]]:
    done = answered(place / COMPLETIONS)
    scores = [score_from(row, where) for where, row in read_own_jsonl(place / SCORES)]
    return answer_table(job.samples, [done[sample.id] for sample in job.samples], scores, checkpoint)


def _begin(place: Path, inputs: dict[str, Any], job: Job) -> None:
    ids = {sample.id for sample in job.samples}
    if moved := begin(place, inputs, keep_files=can_be_kept(place / COMPLETIONS, ids)):
        say(moved)
    mend(place / COMPLETIONS, ids, completions_of(job.samples))


def _finish(
    backend: OpenedBackend, job: Job, checkpoint: str, place: Path, inputs: dict[str, Any], start: float
) -> dict[str, Any]:
    done = answered(place / COMPLETIONS)
    completions = [done[sample.id] for sample in job.samples]
    prompt = job.prompt_name(backend.chat)
    result = _conclude(job, checkpoint, prompt, completions, place)
    finish(place, inputs, seconds=round(time.monotonic() - start, 1))
    return result


def _conclude(job: Job, checkpoint: str, prompt: str, completions: Sequence[Completion], place: Path) -> dict[str, Any]:
    failed = [completion for completion in completions if completion.status == "error"]
    if len(failed) > MOST_ERRORS * len(completions):
        # Kept on the disk all the same: run again, and only these are asked again.
        raise ModelError(
            f"{len(failed)} of {len(completions)} questions of {job.title} could not be answered, the first because "
            f"{failed[0].reason}; run again to go on"
        )
    scores = job.module.score_all(job.samples, completions, job.settings, place)
    summary = job.module.summarize(job.samples, completions, scores)
    check_stated(job.module, summary.metrics, summary.primary_metric)
    result = {
        "benchmark": job.title,
        "checkpoint": checkpoint,
        "prompt": prompt,
        **count(completions, scores),
        **({} if job.thinking is None else {"thoughts": count_thoughts(completions)}),
        "primary_metric": summary.primary_metric,
        "metrics": summary.metrics,
        "intervals": summary.intervals,
        "confusion": summary.confusion,
        "versions": versions(),
        "data_sha256": job.data_sha256,
    }
    keep_in_order(place / COMPLETIONS, completions)
    write_jsonl(place / SCORES, scores)
    write_json(place / "result.json", result)
    return result

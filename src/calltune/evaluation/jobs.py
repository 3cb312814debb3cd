"""A benchmark with its questions, opened from the run file, and how a batch of them is asked."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from calltune.config.entries import Entry, load_module, open_entries
from calltune.config.gate import require_metric
from calltune.config.run_file import Config
from calltune.config.table import parse_options
from calltune.errors import ConfigError
from calltune.evaluation.benchmarks import BENCHMARKS, check_stated
from calltune.files.hashes import value_sha256
from calltune.models.backends import BACKENDS
from calltune.types import Completion, Sample

SAMPLES_BETWEEN_SAVES = 64


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
        ConfigError: an unknown benchmark, a wrong key of one, a metric of which it says nothing, or a rule of the gate
            about one that it does not give.
    """
    entries = config.evaluate.benchmarks
    opened = open_entries("benchmark", BENCHMARKS, entries, "evaluate.benchmarks", config.run_folder)
    # A module of the user's own may leave them out; then the report is the first to know.
    known = {e.title: m.metric_names(settings) for e, m, settings in opened if hasattr(m, "metric_names")}
    for entry, module, _ in opened:
        check_stated(module, known.get(entry.title, ()))
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


def read_jobs(config: Config) -> list[Job]:
    """Every benchmark of the run file with its questions.

    Raises:
        CalltuneError: a benchmark or its data is wrong.
    """
    jobs = []
    for entry, module, settings in open_benchmarks(config):
        samples = list(module.samples(settings))
        jobs.append(Job(entry.title, module, settings, samples, questions_sha256(samples)))
    return jobs


def questions_sha256(samples: Sequence[Sample]) -> str:
    """The hash by which an evaluation knows that it was asked these very questions, in hex.

    `behavior` and `group` are left out: they follow from the target, and evaluations without them are on disks.
    """
    questions = [asdict(sample) for sample in samples]
    return value_sha256(
        [{key: value for key, value in each.items() if key not in ("behavior", "group")} for each in questions]
    )


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


def num_characters(sample: Sample) -> int:
    """Of a question and its tools, which stand for its tokens."""
    return sum(len(message.content) for message in sample.messages) + sum(len(str(tool)) for tool in sample.tools)

"""A benchmark with its questions, opened from the run file, and how a batch of them is asked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from calltune.config.chat import THINKING_SUFFIX
from calltune.config.entries import Entry, load_module, open_entries
from calltune.config.gate import require_metric
from calltune.config.run_file import Config
from calltune.config.table import parse_options
from calltune.errors import ConfigError
from calltune.evaluation.benchmarks import BENCHMARKS, BenchmarkModule, check_stated, decides, is_free
from calltune.files.hashes import value_sha256
from calltune.models.backends import BACKENDS, OpenedBackend
from calltune.types import Completion, Sample, ScoringRequest, plain

SAMPLES_BETWEEN_SAVES = 128


@dataclass(frozen=True, slots=True)
class Job:
    """One benchmark with its questions, to be asked of each checkpoint."""

    title: str
    module: BenchmarkModule[Any]
    settings: Any
    samples: list[Sample]
    data_sha256: str
    thinking: bool | None = None
    """Whether the model is asked to think before it answers freely; None where the run file says nothing of thinking,
    so that a server does as it is set."""

    max_thought_tokens: int = 0
    """How many tokens an answer may have for its thought, beyond the benchmark's own bound."""

    def inputs(self) -> dict[str, Any]:
        """What answers depend on beside the model, the questions and the settings; nothing of what is not said."""
        return {} if self.thinking is None else {"thinking": [self.thinking, self.max_thought_tokens]}

    def prompt_name(self, chat: Any) -> str:
        """Which prompt is used, as `result.json` names it."""
        return self.module.prompt_name(self.settings, chat) + " (thinking)" * bool(self.thinking)


def open_benchmarks(config: Config) -> list[tuple[Entry, BenchmarkModule[Any], Any]]:
    """Each benchmark of the run file with its module and its checked settings.

    Raises:
        ConfigError: an unknown benchmark, a wrong key of one, a metric of which it says nothing, or a rule of the gate
            about one that it does not give.
    """
    table = "evaluate.benchmarks"
    opened = open_entries(BENCHMARKS, config.evaluate.benchmarks, table, config.run_folder)
    names = {entry.title: module.metric_names(settings) for entry, module, settings in opened}
    for number, (entry, module, _) in enumerate(opened):
        check_stated(module, names[entry.title])
        if decides(module):
            require_deciding(config)
        if is_free(module) and "max_new_tokens" not in module.Settings.model_fields:
            raise ConfigError(
                f"{table}.{number}: '{entry.name}' is no benchmark: it has no scoring_request, so answers are written "
                "freely, and its Settings have no max_new_tokens"
            )
    names = {entry.title: names[plain.title] for entry, (plain, _, _), _ in _in_modes(config, opened)}
    for rule in config.gate.parsed:
        if rule.benchmark not in names:
            raise ConfigError(f"gate.rules: '{rule.text}': its questions are never asked with thinking on")
        require_metric(rule, names[rule.benchmark])
    return opened


def require_deciding(config: Config) -> None:
    """See that a run's models can be asked what they would do.

    Raises:
        ConfigError: they think before they answer, or a server is asked, which does not tell how likely tokens are.
    """
    if config.chat.thinking == "on":
        raise ConfigError("'chat.thinking' is on: a model that thinks first decides after its thought, not before it")
    if config.evaluate.backend in BACKENDS.modules and config.evaluate.backend != "hf":
        raise ConfigError('decide needs evaluate.backend = "hf": the others do not tell how likely tokens are')


def asked_benchmarks(config: Config) -> list[tuple[Entry, BenchmarkModule[Any], Any]]:
    """What `open_benchmarks` gives; with thinking both ways, one of free answers stands there once for each mode."""
    return [(entry, *opened[1:]) for entry, opened, _ in _in_modes(config, open_benchmarks(config))]


def _in_modes(
    config: Config, opened: Sequence[tuple[Entry, BenchmarkModule[Any], Any]]
) -> Iterator[tuple[Entry, tuple[Entry, BenchmarkModule[Any], Any], bool | None]]:
    """Each benchmark in each mode in which it is asked: its entry there, the benchmark, and whether it is to think.

    The likelihood of a written answer is that of an answer without a thought, so it is asked with thinking off alone;
    so is what a model would decide.
    """
    for each in opened:
        entry, module, _ = each
        if not is_free(module) or config.chat.thinking == "off":
            yield entry, each, None
            continue
        for thinks in config.chat.asks_to_think:
            beside = thinks and config.chat.thinking == "both"
            name = entry.model_copy(update={"label": entry.title + THINKING_SUFFIX}) if beside else entry
            yield name, each, thinks


def misplaced_questions(benchmarks: Iterable[tuple[Entry, Any, Any]], run_folder: Path) -> Iterator[str]:
    """Yield what is wrong with the paths of opened benchmarks, as far as it can be seen without reading.

    What a run makes for itself need not be there yet.
    """
    for number, (_, _, settings) in enumerate(benchmarks):
        text = getattr(settings, "path", None)
        if not isinstance(text, str) or Path(text).is_relative_to(run_folder):
            continue
        path = Path(text)
        # A Hub id is `owner/name`; anything else was meant as a path.
        is_path = path.suffix or path.is_absolute() or text.startswith(".") or text.count("/") != 1
        if is_path and not path.exists():
            yield f"evaluate.benchmarks.{number}: {text}: no such file of questions"


def own_questions(config: Config, tests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, int]]:
    """Yield each benchmark that asks what the run holds out itself, with how many of its questions it can ask.

    Args:
        tests: the rows of `data/test.jsonl`, in When2Call's test layout.
    """
    for entry, module, settings in open_benchmarks(config):
        text = getattr(settings, "path", None)
        if isinstance(text, str) and Path(text) == config.run_folder / "data" / "test.jsonl":
            asks_all = module.scoring_request is None
            yield entry.title, sum(asks_all or "asked" not in row for row in tests)


def require_backend(config: Config) -> None:
    """See that the run file names a backend that there is; its module, which may take seconds, is not imported.

    Raises:
        ConfigError: there is none of that name.
    """
    name = config.evaluate.backend
    if name not in BACKENDS.modules and "." not in name:
        load_module(BACKENDS, name, "evaluate.backend")


def open_backend(config: Config) -> tuple[Callable[[str], OpenedBackend], dict[str, Any]]:
    """What loads a model by its Hub id or folder, and the backend's own keys, of which answers may depend.

    Raises:
        ConfigError: an unknown backend, or a wrong key of one.
    """
    module = load_module(BACKENDS, config.evaluate.backend, "evaluate.backend")
    settings = parse_options(module.Settings, config.evaluate.backend_options, "evaluate.backend_options")
    load = partial(
        module.Backend,
        tokens_per_batch=config.evaluate.tokens_per_batch,
        settings=settings,
        chat_template=config.chat_template,
    )
    return load, settings.model_dump(mode="json")


def read_jobs(config: Config) -> list[Job]:
    """Every benchmark of the run file with its questions.

    Raises:
        CalltuneError: a benchmark or its data is wrong.
    """
    jobs = []
    for entry, (_, module, settings), thinking in _in_modes(config, open_benchmarks(config)):
        samples = list(module.samples(settings))
        for sample in samples:
            if bool(sample.choices) == (module.scoring_request is None):
                has, wants = ("choices", "none") if sample.choices else ("no choices", "some")
                raise ConfigError(f"{entry.title}: question '{sample.id}' has {has}, its scoring_request wants {wants}")
        tokens = config.chat.max_thought_tokens if thinking else 0
        jobs.append(Job(entry.title, module, settings, samples, questions_sha256(samples), thinking, tokens))
    return jobs


def questions_sha256(samples: Sequence[Sample]) -> str:
    """The hash by which an evaluation knows that it was asked these very questions, in hex.

    `behavior` and `group` are left out: they follow from the target, and evaluations without them are on disks.
    """
    questions = [plain(sample) for sample in samples]
    return value_sha256(
        [{key: value for key, value in each.items() if key not in ("behavior", "group")} for each in questions]
    )


def ask(backend: OpenedBackend, job: Job, samples: Sequence[Sample]) -> list[Completion]:
    """Ask a checkpoint some of a benchmark's questions: what it answers, or how likely each choice is."""
    request_of = job.module.scoring_request
    if request_of is None:
        room = job.settings.max_new_tokens + job.max_thought_tokens
        # A backend of the user's own need not know of thinking.
        mode = {} if job.thinking is None else {"thinking": job.thinking}
        return backend.answer(samples, max_new_tokens=room, **mode)
    if backend.chat is None:
        # Such a backend has no likelihoods, and says so.
        backend.loglikelihood([])
    requests = [request_of(sample, job.settings, backend.chat) for sample in samples]
    likelihoods = backend.loglikelihood(requests)
    return [_scored(*each) for each in zip(samples, requests, likelihoods, strict=True)]


def _scored(sample: Sample, request: ScoringRequest, values: Sequence[float]) -> Completion:
    """The choices with their log-likelihoods; an error where one is no number, as the largest of nan is any."""
    logprobs = dict(zip(sample.choices, values, strict=True))
    if reason := not_finite_reason(logprobs):
        return Completion(sample.id, None, "", "error", reason=reason)
    lengths = dict(zip(sample.choices, map(len, request.continuations), strict=True))
    return Completion(sample.id, None, "", "ok", logprobs=logprobs, num_characters=lengths)


def not_finite_reason(logprobs: Mapping[str, float]) -> str:
    """Why choices cannot be compared by these log-likelihoods, or an empty string."""
    label = next((label for label, value in logprobs.items() if not isfinite(value)), None)
    if label is None:
        return ""
    return f"the log-likelihood of '{label}' is {logprobs[label]} (look at the model's weights)"


def num_characters(sample: Sample) -> int:
    """Of a question and its tools, which stand for its tokens."""
    return sum(len(message.content) for message in sample.messages) + sum(len(str(tool)) for tool in sample.tools)


def alike_together(samples: Sequence[Sample]) -> list[Sample]:
    """The longest first, side by side with those of the same tools, whose prompts begin alike.

    That is least padding and most in common, and the worst memory comes at once.
    """
    names = [str(sample.tools) for sample in samples]
    longest: dict[str, int] = {}
    for sample, name in zip(samples, names, strict=True):
        longest[name] = max(longest.get(name, 0), num_characters(sample))
    keys = [(-longest[name], name, -num_characters(sample)) for sample, name in zip(samples, names, strict=True)]
    return [samples[number] for number in sorted(range(len(samples)), key=keys.__getitem__)]

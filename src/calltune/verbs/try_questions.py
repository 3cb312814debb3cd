"""What `try` asks of a run's own: the questions that it held out, with their right answers, and the tools it offers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from calltune.calling.schema import normalize_tools
from calltune.config.run_file import Config
from calltune.data.rows import read_examples, read_preferences
from calltune.data.sources.files import read_whole
from calltune.errors import ConfigError, DataError
from calltune.evaluation.benchmarks import when2call_generation
from calltune.evaluation.benchmarks.when2call_rows import Question, QuestionSettings, questions
from calltune.evaluation.jobs import open_benchmarks
from calltune.report.mistakes import mistakes
from calltune.types import Completion, Sample, Tool


@dataclass(frozen=True, slots=True)
class Offer:
    """Tools that are offered, and in words where they come from."""

    tools: tuple[Tool, ...]
    origin: str


def held_out_file(config: Config) -> Path:
    """Where the run keeps the questions that it held out."""
    return config.run_folder / "data" / "test.jsonl"


def has_held_out(config: Config) -> bool:
    """Whether the run held out questions; where it held out none, `prepare` writes their file all the same, empty."""
    file = held_out_file(config)
    return file.is_file() and file.stat().st_size > 0


def held_out_questions(config: Config, count: int | None = None) -> list[Question]:
    """The first questions that the run held out, or else of its first benchmark in that layout, with their answers.

    Raises:
        ConfigError: the run asks no questions of that layout.
        DataError: a row of them is broken.
    """
    if has_held_out(config):
        settings = QuestionSettings(path=str(held_out_file(config)))
    else:
        opened = (each for _, _, each in open_benchmarks(config) if isinstance(each, QuestionSettings))
        found = next(opened, None)
        if found is None:
            file = held_out_file(config)
            if file.is_file():
                raise ConfigError(f"{file}: the run held out no questions, and no benchmark's are in their layout")
            raise ConfigError(f"{file}: there are no questions of this run yet ('calltune prepare')")
        settings = found
    return list(islice(questions(settings, with_four=False), count))


def offered(config: Config, tools_file: str | None) -> Offer:
    """The tools of a file; or those that most of the run's test questions offer, or else of its training rows.

    Raises:
        CalltuneError: a file is missing, holds no tools, or a row of it is broken.
    """
    if tools_file is not None:
        tools = normalize_tools(read_whole(tools_file), tools_file)
        if not tools:
            raise DataError(f"{tools_file}: holds no tools")
        return Offer(tools, tools_file)
    rows = config.run_folder / "data" / "train.jsonl"
    if has_held_out(config):
        return _most_frequent(
            [each.tools for each in held_out_questions(config)], f"test questions ({held_out_file(config)})"
        )
    pairs = rows.with_name("preferences.jsonl")
    for file, read in ((rows, read_examples), (pairs, read_preferences)):
        if file.is_file() and (lists := [each.tools for each in read(file)]):
            return _most_frequent(lists, f"training rows ({file})")
    raise ConfigError(f"{rows.parent}: there is no data of this run yet ('calltune prepare'); or name tools by --tools")


def _most_frequent(lists: Sequence[tuple[Tool, ...]], what: str) -> Offer:
    """The tools that are offered together most often; of several such lists the longest, and then the first."""
    counts = Counter(str(sorted(tool.name for tool in tools)) for tools in lists)
    best = max(lists, key=lambda tools: (counts[str(sorted(tool.name for tool in tools))], len(tools)))
    number = counts[str(sorted(tool.name for tool in best))]
    return Offer(best, f"of {number:,} of {len(lists):,} {what}")


def judged(sample: Sample, completion: Completion) -> str:
    """In a word or two whether an answer is right, and what is wrong with it where it is not."""
    score = when2call_generation.score(sample, completion)
    kinds = dict.fromkeys(each.kind for each in mistakes(sample, completion) or ())
    if score.value == 1 and not kinds:
        return "right"
    return ", ".join(kinds) or score.label.replace("_", " ")


def names_of(tools: Iterable[Tool]) -> str:
    """The names of tools, in a row."""
    return ", ".join(tool.name for tool in tools) or "none"

"""The questions of a run's benchmarks, and whether a training row asks one of them too."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from calltune.data.text import asked, digest, words
from calltune.types import Sample

_RUN = 8

_SHARE_OF_RUNS = 0.5


@dataclass(slots=True)
class AskedQuestions:
    """The questions of a run's benchmarks. A row is looked up in them."""

    names: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    exact: dict[bytes, int] = field(default_factory=dict)
    runs: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    num_runs: list[int] = field(default_factory=list)

    def add(self, benchmark: str, sample_id: str, question: str, *, has_own_id: bool) -> None:
        """Remember one question. `has_own_id` says that rows elsewhere may carry its id, as BFCL's do."""
        number = len(self.names)
        self.names.append(f"{sample_id} of {benchmark}")
        if has_own_id:
            self.ids.setdefault(sample_id, number)
        question_words = words(question)
        self.exact.setdefault(digest(" ".join(question_words)), number)
        question_runs = set(_runs(question_words))
        self.num_runs.append(len(question_runs))
        for run in question_runs:
            self.runs[run].append(number)

    def add_sample(self, sample: Sample, title: str, written: Callable[[str], str] = str) -> None:
        """Remember a benchmark's question, as `written` gives it."""
        self.add(title, sample.id, written(asked(sample.messages)), has_own_id=sample.benchmark == "bfcl")

    def contamination(self, ids: Iterable[str], question: str) -> str:
        """Return why a row is a benchmark's question, or an empty string.

        It is one by id, by all its words, or when half of a question's runs of eight words occur in it.
        """
        for row_id in ids:
            if row_id in self.ids:
                return f"has the id of {self.names[self.ids[row_id]]}"
        row_words = words(question)
        if row_words and (number := self.exact.get(digest(" ".join(row_words)))) is not None:
            return f"asks {self.names[number]}"
        hits = Counter(number for run in set(_runs(row_words)) if run in self.runs for number in self.runs[run])
        for number, count in hits.items():
            if count >= _SHARE_OF_RUNS * self.num_runs[number]:
                return f"shares {count} of {self.num_runs[number]} runs of {_RUN} words with {self.names[number]}"
        return ""


def _runs(text_words: Sequence[str]) -> Iterable[bytes]:
    return (digest(" ".join(text_words[place : place + _RUN])) for place in range(len(text_words) - _RUN + 1))

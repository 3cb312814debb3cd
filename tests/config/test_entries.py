"""What a run file names of the user's own: it works, or one line says what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.verbs import evaluate, prepare, report

KEYS = "from calltune.config.table import Table\n\n\nclass Settings(Table):\n    max_new_tokens: int = 8\n"

SOURCE = (
    KEYS.replace("    max_new_tokens: int = 8\n", "    number: int = 8\n")
    + """
from calltune.types import Example, Message, Tool, ToolCall

def read(settings):
    tool = Tool("ring", "Rings.", {"type": "object", "properties": {"times": {"type": "integer"}}})
    for n in range(settings.number):
        call = Message("assistant", "", (ToolCall("ring", {"times": n}),))
        yield Example(f"own-{n}", "own", (Message("user", f"Ring {n} times."), call), (tool,), "tool_call")

def fingerprint(settings): return str(settings.number)

def questions(settings): return iter(())
"""
)

BENCHMARK = (
    KEYS
    + """
from calltune.evaluation.benchmarks import Metric, Summary
from calltune.types import Message, Sample, Score

METRICS = {
    "short": Metric("few words", skill="being short"),
    "wordy_rate": Metric(less_is_better=True, harm="more words"),
}
scoring_request = None

def metric_names(settings): return list(METRICS)

def prompt_name(settings, chat): return "chat_template"

def samples(settings):
    for n in range(4):
        group = ("half", "first" if n < 2 else "second")
        yield Sample(str(n), "own", (Message("user", f"Number {n}?"),), (), {"most": 9}, behavior="direct", group=group)

def score_all(samples, completions, settings, folder):
    (folder / "paid.txt").write_text(str(len(samples)))
    return [Score(s.id, float(len(c.text) <= s.target["most"]), "x") for s, c in zip(samples, completions, strict=True)]

def summarize(samples, completions, scores):
    share = sum(score.value for score in scores) / len(scores)
    return Summary("short", {"short": share, "wordy_rate": 1 - share})
"""
)

BACKEND = (
    KEYS.replace("max_new_tokens: int = 8", "words: str = 'Yes.'")
    + """
from calltune.types import Completion, Message

class Backend:
    chat = None

    def __init__(self, model, tokens_per_batch, settings, chat_template=None):
        self.words = settings.words

    def loglikelihood(self, requests): raise AssertionError("nobody asks")

    def sample(self, samples, max_new_tokens, sampling): raise AssertionError("nobody asks")

    def answer(self, samples, max_new_tokens):
        return [Completion(s.id, Message("assistant", self.words), self.words, "ok") for s in samples]
"""
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Write a module of one's own; returns its dotted path."""
    package = f"own_{tmp_path.name}"
    (tmp_path / package).mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / package / f"{name}.py").write_text(text)
        return f"{package}.{name}"

    return write


def test_a_source_a_benchmark_and_a_backend_of_one_s_own(
    own: Callable[[str, str], str], write_run_file: Callable[..., Path]
) -> None:
    overrides = [
        "stages=[]",
        f'data.sources=[{{name="{own("rows", SOURCE)}", number=6}}]',
        f'evaluate.benchmarks=[{{name="{own("asked", BENCHMARK)}", label="mine"}}]',
        f"evaluate.backend={own('runs', BACKEND)}",
        "evaluate.backend_options.words=No.",
        'gate.rules=["mine.short >= 0.5", "mine.wordy_rate <= 0.1"]',
    ]
    config = load_config(write_run_file(), overrides)
    counts = json.loads((prepare.run(config) / "manifest.json").read_text())["counts"]
    assert counts["train"] == 6
    assert (evaluate.run(config) / "base" / "mine" / "paid.txt").read_text() == "4"
    written = json.loads(report.run(config).read_text())
    assert written["gate"]["passed"]
    (result,) = written["results"]
    assert (result["metrics"], result["num_samples"]) == ({"short": 1.0, "wordy_rate": 0.0}, 4)
    assert written["intervals"]["mine"]["base"]["short"][0] > 0.3
    page = (config.run_folder / "report.html").read_text()
    assert "few words" in page
    assert '{\\"most\\"' not in page


@pytest.mark.parametrize("place", ["data.sources.0.name", "evaluate.benchmarks.0.name", "evaluate.backend"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os.path", "'os.path' is no {kind}: it has no {members}"),
        (
            "./mine.py",
            "unknown {kind} './mine.py': a module of your own goes by its dotted path, such as package.module",
        ),
        (".mine", "unknown {kind} '.mine': a module of your own goes by its dotted path, such as package.module"),
        ("..", "unknown {kind} '..': a module of your own goes by its dotted path, such as package.module"),
        (
            "my pack.age",
            "unknown {kind} 'my pack.age': a module of your own goes by its dotted path, such as package.module",
        ),
        ("nowhere.at_all", "unknown {kind} 'nowhere.at_all': there is no module of that name"),
    ],
)
def test_what_is_no_module_of_the_family_is_one_line(
    place: str, name: str, message: str, write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_run_file()), f'{place}="{name}"']) == 2
    kind, members = {
        "data.sources.0.name": ("source", "Settings, read, fingerprint, questions"),
        "evaluate.benchmarks.0.name": (
            "benchmark",
            "Settings, METRICS, scoring_request, metric_names, prompt_name, samples, score_all, summarize",
        ),
        "evaluate.backend": ("backend", "Settings, Backend"),
    }[place]
    told = message.format(kind=kind, members=members)
    assert capsys.readouterr().err == f"calltune: {place.removesuffix('.name')}: {told}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BENCHMARK.replace("def score_all", "def _score_all"), "'{name}' is no benchmark: it has no score_all"),
        (
            BENCHMARK.replace("class Settings(Table)", "class Settings"),
            "'{name}' is no benchmark: its Settings is no pydantic model",
        ),
        (BENCHMARK + "\nsummarize = 3", "'{name}' is no benchmark: its summarize cannot be called"),
        (
            BENCHMARK.replace("max_new_tokens: int = 8", "pass"),
            "'{name}' is no benchmark: it has no scoring_request, so answers are written freely, and its Settings have "
            "no max_new_tokens",
        ),
    ],
    ids=["a member", "no model", "no function", "no bound"],
)
def test_a_benchmark_that_lacks_a_member_is_one_line(
    text: str,
    message: str,
    own: Callable[[str, str], str],
    write_run_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = own("asked", text)
    assert main(["check", str(write_run_file()), f'evaluate.benchmarks=[{{name="{name}"}}]']) == 2
    assert capsys.readouterr().err == f"calltune: evaluate.benchmarks.0: {message.format(name=name)}\n"


@pytest.mark.parametrize(
    ("verb", "text", "message"),
    [
        (
            "check",
            BENCHMARK.replace("return list(METRICS)", 'return ["other"]'),
            "METRICS says nothing of the metric 'other'",
        ),
        (
            "evaluate",
            BENCHMARK.replace('{"short": share', '{"brief": share'),
            "METRICS says nothing of the metric 'brief'",
        ),
        (
            "evaluate",
            BENCHMARK.replace(', skill="being short"', ""),
            "METRICS['short'] needs a 'skill', as it is the primary metric",
        ),
        (
            "evaluate",
            BENCHMARK.replace("scoring_request = None", "def scoring_request(sample, settings, chat): pass"),
            "question '0' has no choices, its scoring_request wants some",
        ),
        (
            "evaluate",
            BENCHMARK.replace("group=group", 'group=group, choices={"a": Message("assistant", "A")}'),
            "question '0' has choices, its scoring_request wants none",
        ),
    ],
    ids=["a name", "a metric", "its words", "no choices", "choices"],
)
def test_a_benchmark_that_contradicts_itself_is_one_line(
    verb: str,
    text: str,
    message: str,
    own: Callable[[str, str], str],
    write_run_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = own("asked", text)
    overrides = [f'evaluate.benchmarks=[{{name="{name}"}}]', f"evaluate.backend={own('runs', BACKEND)}"]
    assert main([verb, str(write_run_file()), *overrides]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"calltune: {name}: {message}"


def test_a_backend_names_the_key_that_was_meant(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(write_run_file()), "evaluate.backend_options.dytpe=float32"]) == 2
    assert capsys.readouterr().err == (
        "calltune: evaluate.backend_options: unknown key 'dytpe', did you mean 'dtype'?\n"
    )

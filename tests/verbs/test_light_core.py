"""What `pip install calltune` can do without the extra `train`: its packages cannot be imported in these processes."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from planted_run import plant_run, run_file

from calltune.runtime.extras import TRAIN, line_for
from calltune.verbs.init import TEMPLATES

ROOT = Path(__file__).parents[2]
LINE = r"{} needs {}, which is not installed: pip install 'calltune[train]'"

WITHOUT = f"""
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class Light:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in {TRAIN!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Light]
sys.path.insert(0, {str(ROOT / "src")!r})
from calltune.cli import main
code = main(sys.argv[1:])
heavy = {{name.partition(".")[0] for name in sys.modules}} & set({TRAIN!r})
assert not heavy, heavy
sys.exit(code)
"""


def done(place: Path, *words: object) -> tuple[int, str, str]:
    """A verb in a process of its own where no package of the extra can be found: exit code, stdout, stderr."""
    command = [sys.executable, "-c", WITHOUT, *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": parameters}}]
    rows = []
    for number in range(12):
        call = {"name": "weather", "arguments": json.dumps({"city": f"City {number}"})}
        messages = [
            {"role": "user", "content": f"What is the weather in City {number}?"},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": "1", "content": "sunny"},
            {"role": "assistant", "content": f"It is sunny in City {number}."},
        ]
        rows.append({"messages": messages, "tools": tools})
    file = tmp_path / "logs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_names_are_those_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {"pyyaml": "yaml"}
    packages = [words.partition(">")[0] for words in project["optional-dependencies"]["train"]]
    assert tuple(named.get(package, package) for package in packages) == TRAIN


def test_logs_are_audited_and_a_run_file_is_made_and_checked(tmp_path: Path, logs: Path) -> None:
    code, out, err = done(tmp_path, "audit", logs, "--json", "--page", "audit.html")
    assert (code, json.loads(out)["rows"]) == (0, 12), err
    assert (tmp_path / "audit.html").is_file()
    code, out, err = done(tmp_path, "init", logs, "-o", "mine.toml")
    assert (code, err) == (0, "")
    assert "wrote mine.toml" in out
    code, out, err = done(tmp_path, "check", "mine.toml")
    assert (code, err) == (0, "")
    assert "WARNING: torch is not installed, so the model's template, rows, questions and time are not looked at" in out
    assert out.endswith("1 warning. Next: pip install 'calltune[train]'\n")
    code, _, err = done(tmp_path, "check", "mine.toml", "sft.learnig_rate=1")
    assert code == 2
    assert "did you mean 'learning_rate'" in err


def test_a_run_is_listed_and_reported(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "runs" / "toy", number=8)
    file = run_file(folder)
    file.write_text(file.read_text().replace("mlflow = false", "mlflow = true"))
    (folder / "tracking.json").write_text("{}")
    code, out, err = done(tmp_path, "report", file)
    assert (code, err) == (0, "")
    assert "as MLflow is not installed: pip install 'calltune[train]'" in out
    assert (folder / "report.html").is_file()
    code, out, err = done(tmp_path, "list", "--json")
    assert (code, [row["name"] for row in json.loads(out)["runs"]]) == (0, ["toy"]), err


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_written(tmp_path: Path, template: str) -> None:
    assert done(tmp_path, "init", template)[0] == 0
    assert (tmp_path / f"{template}.toml").is_file()


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (("prepare",), "transformers"),
        (("run",), "transformers"),
        (("sft",), "trl"),
        (("sft", "launch.processes=2"), "accelerate"),
    ],
)
def test_what_needs_more_says_so_in_one_line_and_writes_nothing(
    tmp_path: Path, words: tuple[str, ...], package: str
) -> None:
    verb, *overrides = words
    file = ROOT / "examples" / "quickstart.toml"
    code, out, err = done(tmp_path, verb, file, f"output={tmp_path / 'runs'}", *overrides)
    assert (code, err) == (2, f"calltune: {LINE.format(verb, package)}\n"), out
    assert not (tmp_path / "runs").exists()


def test_another_missing_module_is_a_fault() -> None:
    assert not line_for("run", ModuleNotFoundError("No module named 'calltune.trainer'", name="calltune.trainer"))
    assert not line_for("run", ModuleNotFoundError("who knows"))
    inner = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert line_for("run", inner) == LINE.format("run", "torch")

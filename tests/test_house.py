"""The rules of the house: imports go down, no circle, short files, a light command line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from quickness import quickest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "calltune"

FLOORS = (
    "types errors",
    "runtime config calling",
    "files models",
    "data evaluation launch",
    "deciding mining training report",
    "verbs",
    "cli",
    "__main__",
)
"""From the ground up. A module may import its own room and rooms on lower floors; docs/architecture.md draws them."""

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere, also inside functions, and also by its lazy `import_module`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")
    return {name for name in found if name in FILES and name != "calltune"}


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", [name for name in FILES if name != "calltune"])
def test_imports_go_down(module: str) -> None:
    assert room(module) in FLOOR_OF, f"say in FLOORS on which floor {module} lives"
    for other in imported(FILES[module]):
        here, there = room(module), room(other)
        assert here == there or FLOOR_OF[there] < FLOOR_OF[here], f"{module} imports {other}, which is not below it"


def test_training_reads_the_run_file_at_its_entries_alone() -> None:
    """A stage's settings are resolved once and handed down, so below the entries nobody can ask the run file again."""
    training = {name: path for name, path in FILES.items() if name.startswith("calltune.training.")}
    readers = {name.split(".")[-1] for name, path in training.items() if "calltune.config.run_file" in imported(path)}
    assert readers == {"settings", "stage", "estimate"}


def test_the_root_holds_rooms_alone() -> None:
    inside = {path.name for path in SOURCE.iterdir() if path.name != "__pycache__"}
    files = {"__init__.py", "__main__.py", "cli.py", "errors.py", "types.py"}
    assert inside == files | (FLOOR_OF.keys() - {name.removesuffix(".py") for name in files})


def test_no_circle() -> None:
    arrows = {name: imported(path) - {name} for name, path in FILES.items()}
    # A package's own __init__ is imported with each of its modules; that is no arrow of theirs.
    for name in arrows:
        arrows[name] = {other for other in arrows[name] if not name.startswith(f"{other}.")}
    while leaves := [name for name, others in arrows.items() if not others]:
        for leaf in leaves:
            del arrows[leaf]
        arrows = {name: others - set(leaves) for name, others in arrows.items()}
    assert not arrows, f"these import each other in a circle: {sorted(arrows)}"


def test_no_file_over_300_lines() -> None:
    files = [path for folder in ("src", "tests", "bench", "scripts") for path in (ROOT / folder).rglob("*.py")]
    long = {str(path.relative_to(ROOT)): n for path in files if (n := len(path.read_text().splitlines())) > 300}
    assert not long


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def says(call: ast.Call, keyword: str) -> bool:
    """Whether a call says False to a keyword."""
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is False for k in call.keywords)


def test_no_code_of_a_model_is_ever_run() -> None:
    """Every class of transformers that looks for code beside a model is told to run none, and where is one place."""
    named = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")
    found = [
        (module, ast.unparse(call.func), says(call, "trust_remote_code"))
        for module, path in FILES.items()
        for call in calls(path)
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in named
    ]
    assert {module for module, _, _ in found} == {"calltune.models.load", "calltune.models.gguf_file"}
    assert len(found) >= 4
    assert [each for each in found if not each[2]] == []
    assert not [m for m, path in FILES.items() if "trust_remote_code=True" in path.read_text()]


def test_every_json_that_is_written_is_json() -> None:
    """Python's own writer also writes NaN, which no other reader takes."""
    written = [
        (module, call.lineno, says(call, "allow_nan"))
        for module, path in FILES.items()
        for call in calls(path)
        if ast.unparse(call.func) in ("json.dumps", "json.dump")
    ]
    assert len(written) > 20
    # The one that takes other options, and always says this one, is `json_text`.
    assert {module for module, _, is_strict in written if not is_strict} == {"calltune.files.json_lines"}
    assert sum(not is_strict for _, _, is_strict in written) == 1


def test_help_is_light() -> None:
    """In seconds of the processor."""
    code = (
        "import sys, time\n"
        "from calltune.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'transformers', 'trl', 'pydantic', 'rich', 'mlflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(time.process_time())\n"
    )

    def seconds() -> float:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "evaluate" in done.stdout
        return float(done.stdout.split()[-1])

    assert quickest(seconds, 0.3) < 0.3

"""`calltune init`: a run file to begin with: one that fits a user's own logs, or a commented one of `examples/`.

The files are those of `examples/`; an installed package carries them, a checkout has them beside `src`.
"""

import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import calltune
from calltune.errors import ConfigError, DataError
from calltune.runtime.told import tell_program

TEMPLATES = {
    "quickstart": "quickstart.toml",
    "when2call": "when2call-qwen3-0.6b.toml",
    "traces": "traces.toml",
}

_MODEL = "tiny-qwen3"
_MODEL_LINE = f'model = "examples/{_MODEL}"'


def run(what: str, output: Path | None = None, force: bool = False, tools: str | None = None) -> Path:
    """Write a run file, and say what to do with it.

    Args:
        what: a template's name, or the path of logs.
        output: by default named for the template or the logs, here.
        force: whether a file of that name may be overwritten.
        tools: a file of tools, or an MCP server, for logs whose rows name none.

    Returns:
        The run file.

    Raises:
        ConfigError: something of that name is there, or cannot be written, or there is neither template nor logs.
        DataError: the logs cannot be read, or nothing in them could be trained on.
    """
    if what not in TEMPLATES:
        return _from_logs(what, output, force, tools)
    if tools:
        raise ConfigError("--tools goes with the path of logs, not with a template")
    from calltune.runtime.terminal import say

    path = output or Path(f"{what}.toml")
    text = (_examples() / TEMPLATES[what]).read_text(encoding="utf-8")
    # Without a checkout around it the run file brings its model along.
    model = path.parent / _MODEL if _MODEL_LINE in text and not Path("examples", _MODEL).is_dir() else None
    for wanted in filter(None, (path, model)):
        _require_free(wanted, force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if model:
            shutil.copytree(_examples() / _MODEL, model, dirs_exist_ok=True)
            text = text.replace(_MODEL_LINE, f'model = "{model.as_posix()}"', 1)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: cannot be written: {error.strerror}") from None
    say(f"wrote {path}" + (f", and its model into {model}" if model else ""))
    tell_program(run_file=str(path), next=f"calltune check {shlex.quote(str(path))}")
    say(f"next: read it, then 'calltune check {path}', then 'calltune run {path}'")
    return path


def _from_logs(logs: str, output: Path | None, force: bool, tools: str | None) -> Path:
    if not Path(logs).exists():
        raise ConfigError(
            f"{logs}: no such file or folder of logs, and no template (there are: {', '.join(TEMPLATES)})"
        )
    name = _run_name(logs)
    path = output or Path(f"{name}.toml")
    _require_free(path, force)
    from calltune.data.audit.fitting import fitted, names_no_tools, run_file, summary
    from calltune.data.audit.reading import audited
    from calltune.runtime.terminal import say

    told = audited(logs, tools)
    say(f"found: {summary(told)}; {_answers(told)}")
    if names_no_tools(told) and not tools:
        again = shlex.join(["calltune", "init", logs])
        raise DataError(
            f"{logs}: no row names the tools that the agent had, so there is nothing to choose from; put them into a "
            f"JSON file and type '{again} --tools tools.json', which writes tools = \"tools.json\" beside the path "
            "(an MCP server goes too: docs/data-formats.md)"
        )
    fit = fitted(told)
    if not fit.stages:
        raise DataError(f"{logs}: none of its rows could be trained on: {_why_none(told)}; 'calltune audit' tells more")
    text = run_file(told, name, tools)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: cannot be written: {error.strerror}") from None
    if not fit.deciding:
        say("note: no call answers a user's message, so no refusal, question or test can be made from calls")
    sizes = [f"{stage.name} about {stage.rows:,} rows, {stage.steps:,} steps" for stage in fit.stages]
    test = f"about {fit.held_out:,} conversations held out" if fit.deciding else "When2Call, of the Hub"
    say(f"wrote {path}: {'; '.join(sizes)}; test from {test}")
    tell_program(run_file=str(path), next=f"calltune check {shlex.quote(str(path))}")
    say(f"next: calltune check {shlex.quote(str(path))}")
    return path


def _require_free(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(f"{path}: is there already; --force overwrites it, -o names another file")


def _run_name(logs: str) -> str:
    """Return the name of a run over logs: the file's or folder's own, as far as a run may have it."""
    stem = Path(logs).resolve().name.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")
    return f"{name}-run" if name == "models" else name or "traces"


def _answers(told: Mapping[str, Any]) -> str:
    """Return how many answers there are and what they do, and how many could be trained on."""
    counts = {
        name: sum(kinds[name]["found"] for kinds in told["behaviors"].values()) for name in told["behaviors"]["answers"]
    }
    does = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    kept = sum(told["trainable"][kind] for kind in ("answers", "pairs"))
    return f"{sum(counts.values()):,} answers ({does or 'none'}), {kept:,} could be trained on"


def _why_none(told: Mapping[str, Any]) -> str:
    reasons = [f"{name} {count:,}" for name, count in told["trainable"]["left_out"].items()]
    return ", ".join(reasons) or "there are no answers"


def _examples() -> Path:
    package = Path(calltune.__file__).parent
    packaged = package / "examples"
    return packaged if packaged.is_dir() else package.parents[1] / "examples"

"""A pipe, a socket or a device in the place of a file is one line, and nobody waits for it."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.errors import CalltuneError
from calltune.files.json_lines import numbered_lines, read_json
from calltune.models.load import load_tokenizer, model_config

KINDS = ("a named pipe", "a socket", "a device")


@pytest.fixture(params=KINDS)
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """What it is, and what puts one at a path."""
    sockets = []

    def put(path: Path) -> Path:
        if request.param == "a named pipe":
            os.mkfifo(path)
        elif request.param == "a device":
            path.symlink_to("/dev/zero")
        else:
            sockets.append(socket.socket(socket.AF_UNIX))
            # A socket's own path may not be long.
            before = os.getcwd()
            os.chdir(path.parent)
            sockets[-1].bind(path.name)
            os.chdir(before)
        return path

    yield request.param, put
    for each in sockets:
        each.close()


Special = tuple[str, Callable[[Path], Path]]


def test_the_run_file(special: Special, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, put = special
    for name in ("run.toml", "run.json"):
        file = put(tmp_path / name)
        for verb in ("check", "prepare", "sft", "evaluate", "report"):
            assert main([verb, str(file)]) == 2
            assert capsys.readouterr().err == f"calltune: {file}: is {kind}, a run file was expected\n"


@pytest.mark.parametrize(
    "key",
    [
        "data.sources.0.path",
        "evaluate.benchmarks.0.path",
        "chat_template",
        "model",
        "tuning.spectrum_file",
        "report.compare.0",
        "output",
    ],
)
def test_every_path_of_a_run_file(
    key: str,
    special: Special,
    write_run_file: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, put = special
    place = put(tmp_path / "special")
    values = {
        "data.sources.0.path": f"data.sources=[{{name='when2call', path='{place}'}}]",
        "evaluate.benchmarks.0.path": f"evaluate.benchmarks=[{{name='when2call', path='{place}'}}]",
        "report.compare.0": f"report.compare=['{place}']",
    }
    file = write_run_file()
    assert main(["check", str(file), values.get(key, f"{key}='{place}'")]) == 2
    told = capsys.readouterr().err
    assert told == f"calltune: {file}: '{key}': {place} is {kind}; files and folders alone are read\n"


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "chat_template.jinja", "model.safetensors", "more"])
def test_every_file_of_a_model_s_folder(name: str, special: Special, tiny_model: Path, tmp_path: Path) -> None:
    kind, put = special
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / name).unlink(missing_ok=True)
    put(model / name)
    for load in (load_tokenizer, model_config):
        with pytest.raises(CalltuneError, match=f"^model '{model}': {name} is {kind}, a file was expected$"):
            load(str(model))


def test_files_of_a_data_folder_and_of_a_run(
    special: Special, write_run_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, put = special
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = put(folder / "rows.jsonl")
    file = write_run_file()
    assert main(["prepare", str(file), f"data.sources=[{{name='openai_traces', path='{folder}'}}]"]) == 2
    assert f"{rows}: is {kind}, a data file was expected\n" in capsys.readouterr().err
    with pytest.raises(CalltuneError, match=f"is {kind}, a data file was expected"):
        next(numbered_lines(rows))
    with pytest.raises(CalltuneError, match=f"is {kind}, a file was expected"):
        read_json(rows)


def test_an_ordinary_run_file_is_read(write_run_file: Callable[..., Path]) -> None:
    assert load_config(write_run_file()).name == "toy"

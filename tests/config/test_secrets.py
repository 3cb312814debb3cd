"""No secret of a run file, and none of the environment, is shown or written, wherever it stands."""

import copy
import json
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic
import pytest

from calltune.cli import main
from calltune.config.entries import load_module
from calltune.config.run_file import Config, load_config
from calltune.config.secrets import conceal, holds_secret, names_secret
from calltune.data.sources import SOURCES
from calltune.errors import ConfigError
from calltune.evaluation.benchmarks import BENCHMARKS
from calltune.models.backends import BACKENDS

TOKEN = "hf_PlantedPlantedPlanted0123456789AB"
PASSWORD = "planted-pw"
ADDRESS = f"http://me:{PASSWORD}@localhost/x"
BASE: dict[str, Any] = {
    "name": "toy",
    "model": "some/model",
    "data": {"sources": [{"name": "synthetic"}]},
    "evaluate": {"benchmarks": [{"name": "when2call"}]},
}


def models_in(annotation: Any) -> Iterator[type[pydantic.BaseModel]]:
    """The tables that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, dict):
        for part in get_args(annotation):
            yield from models_in(part)


def keys_of(model: type[pydantic.BaseModel], path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key of a table and of the tables in it, and one key that each does not have."""
    yield (*path, "no_such_key")
    for name, field in model.model_fields.items():
        here = (*path, name)
        yield here
        if "dict" in str(field.annotation):
            yield (*here, "inner")
        inside = (*here, 0) if get_origin(field.annotation) is tuple else here
        for inner in models_in(field.annotation):
            yield from keys_of(inner, inside)


def places() -> list[tuple[str | int, ...]]:
    found = list(keys_of(Config))
    for family, path in (
        (SOURCES, ("data", "sources", 0)),
        (BENCHMARKS, ("evaluate", "benchmarks", 0)),
        (BACKENDS, ("evaluate", "backend_options")),
    ):
        for name in family.modules:
            # vLLM's is not looked at where vLLM is not installed.
            found += keys_of(load_module(family, name, "").Settings, path) if name != "vllm" else []
    return sorted(set(found), key=str)


def planted(path: tuple[str | int, ...], secret: Any) -> dict[str, Any]:
    """The run file with something at a place, and the tables on the way to it."""
    table = copy.deepcopy(BASE)
    place: Any = table
    for key in path[:-1]:
        if isinstance(place, dict) and not isinstance(place.get(str(key)), dict | list):
            place[key] = {}
        place = place[key]
    place[path[-1]] = secret
    return table


def test_the_walk_comes_everywhere() -> None:
    found = {".".join(map(str, path)) for path in places()}
    assert len(found) > 200
    assert {
        "name",
        "data.sources.0.path",
        "data.derive.model.api_key_env",
        "launch.sagemaker.secret",
        "launch.sagemaker.tags.inner",
        "evaluate.benchmarks.0.judge.extra_body.inner",
        "evaluate.backend_options.extra_body.inner",
        "tracking.uri",
        "sft.inner",
        "tuning.dpo.spectrum_file",
        "no_such_key",
    } <= found


def shown_by(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(words)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize("secret", [TOKEN, f"Bearer {TOKEN[3:]}", ADDRESS, [ADDRESS], {"x": [TOKEN]}])
def test_a_secret_under_any_key_is_refused_and_neither_shown_nor_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, secret: Any
) -> None:
    # The run's folder would be made here.
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "run.json"
    for path in places():
        file.write_text(json.dumps(planted(path, secret)))
        code, shown = shown_by(["prepare", str(file)], capsys)
        key = ".".join(map(str, path))
        assert code == 2, key
        assert f"'{key}" in shown, shown
        assert "a run file holds no secret" in shown
        assert len(shown.splitlines()) == 1
        assert not any(word in shown for word in (TOKEN[3:], PASSWORD)), shown
    assert list(tmp_path.iterdir()) == [file]


def test_a_secret_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(BASE | {"output": str(tmp_path / "runs")}))
    for path in places():
        key = ".".join(map(str, path))
        code, shown = shown_by(["check", str(file), f"{key}={TOKEN}"], capsys)
        assert (code, TOKEN[3:] in shown) == (2, False), shown
    for words in (
        ["check", str(file), f"name.x={TOKEN}"],
        ["check", str(file), f"sft.{TOKEN}=1"],
        ["check", str(file), f"no_such_key.hub_token={PASSWORD}"],
        ["check", str(file), f"{TOKEN}"],
        ["check", str(tmp_path / TOKEN)],
    ):
        code, shown = shown_by(words, capsys)
        assert code == 2
        assert not any(word in shown for word in (TOKEN[3:], PASSWORD)), shown
    for words in (["check", str(file), "--token", PASSWORD], ["check", str(file), f"--api-key={PASSWORD}"], [TOKEN]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        printed = capsys.readouterr()
        assert stop.value.code == 2
        assert not any(word in printed.err for word in (TOKEN[3:], PASSWORD)), printed.err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "key",
    [
        "sft.push_to_hub_token",
        "sft.hub_token",
        "dpo.hub_token",
        "evaluate.backend_options.extra_body.api_key",
        "evaluate.backend_options.hf_token",
        "evaluate.benchmarks.0.judge.extra_body.headers.Authorization",
        "launch.sagemaker.secret",
        "launch.sagemaker.tags.ApiKey",
        "tracking.password",
        "data.sources.0.token",
        "lora.client_secret",
    ],
)
@pytest.mark.parametrize("value", ["hunter2", 4711, ["hunter2"]])
def test_what_has_a_secrets_name_is_one(tmp_path: Path, key: str, value: Any) -> None:
    file = tmp_path / "run.json"
    path = tuple(int(part) if part.isdigit() else part for part in key.split("."))
    file.write_text(json.dumps(planted(path, value)))
    with pytest.raises(Exception, match=f"'{key}.*a run file holds no secret; ") as error:
        load_config(file)
    assert not any(word in str(error.value) for word in ("hunter2", "4711"))


@pytest.mark.parametrize("key", ["mine.max_new_token", "sft.num_token"])
def test_a_misspelt_number_of_tokens_is_no_secret(tmp_path: Path, key: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(planted(tuple(key.split(".")), 96)))
    with pytest.raises(ConfigError, match=r"unknown key '\w+\.\w+'"):
        load_config(file)


def test_a_wrong_pair_of_keys_does_not_show_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {"role": "arn:aws:iam::123456789012:role/r", "bucket": "toy-bucket", "region": "us-east-1"}
    table = {**wanted, "instance_type": "ml.g5.xlarge", "subnets": ["subnet-marked"]}
    (tmp_path / "run.json").write_text(json.dumps(BASE | {"launch": {"sagemaker": table}}))
    code, shown = shown_by(["check", str(tmp_path / "run.json")], capsys)
    assert code == 2
    assert shown.endswith("run.json: 'launch.sagemaker': 'subnets' and 'security_groups' go together\n")


def test_no_key_that_may_be_given_has_a_secrets_name() -> None:
    """Of calltune's keys one names a secret, by its ARN; of TRL's and PEFT's one is a secret, and is refused."""
    from peft import LoraConfig
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.sft_config import SFTConfig

    ours = {str(path[-1]) for path in places()}
    theirs = {field.name for kind in (LoraConfig, DPOConfig, SFTConfig) for field in dataclass_fields(kind)}
    assert len(theirs) > 150
    assert sorted(filter(names_secret, ours)) == ["secret"]
    assert sorted(filter(names_secret, theirs)) == ["hub_token"]
    assert not holds_secret("arn:aws:secretsmanager:us-east-1:123456789012:secret:x")


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        *((name, True) for name in ("hub_token", "apiKey", "X-Api-Key", "AWS_SECRET_ACCESS_KEY", "Authorization")),
        *(
            (name, True)
            for name in ("password", "client_secret", "token", "sessionToken", "HF_TOKEN", "api_keys", "db_pwd")
        ),
        *((name, False) for name in ("eos_token", "pad_token", "pad_token_id", "max_new_tokens", "tokens_per_batch")),
        *(
            (name, False)
            for name in ("api_key_env", "token_file", "secret_arn", "kms_key", "hub_private_repo", "PWD", "")
        ),
    ],
)
def test_names(name: str, is_secret: bool) -> None:
    assert names_secret(name) == is_secret


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {TOKEN} is wrong", "token *** is wrong"),
        ("sk-proj-0123456789abcdef_x, AKIAIOSFODNN7EXAMPLE", "***, ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-nature", "***"),
        ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: ***"),
        (f"{ADDRESS}: no route", "http://***@localhost/x: no route"),
        ("http://me:a/b@localhost", "http://***@localhost"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("GET /x?user=me&api_key=abc&n=1", "GET /x?user=me&api_key=***&n=1"),
        ('{"password": "abc", "name": "x"}', '{"password": "***", "name": "x"}'),
        (
            "calltune sft a.toml sft.hub_token=abc sft.max_steps=3",
            "calltune sft a.toml sft.hub_token=*** sft.max_steps=3",
        ),
        (
            "run.toml: 'sft.hub_token': a run file holds no secret",
            "run.toml: 'sft.hub_token': a run file holds no secret",
        ),
        (
            "models/sk-a-long-name-without-digits task-0123456789abcdefgh",
            "models/sk-a-long-name-without-digits task-0123456789abcdefgh",
        ),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert conceal(text) == shown


def test_the_environments_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    monkeypatch.setenv("SOME_TOKEN", "short")
    monkeypatch.setenv("HOME_FOLDER", "correct stable")
    monkeypatch.setenv("PWD", "/somewhere/else")
    monkeypatch.setenv("SOME_CREDENTIALS", "/proc/self")
    text = "401: '{}' short correct stable /somewhere/else /proc/self/x"
    assert conceal(text.format("correct horse")) == text.format("***")


def test_a_text_of_megabytes_is_read_in_no_time() -> None:
    start = time.process_time()
    for part in ("a", "a-", "sk-", "a://b:c", "a=", "--a ", "bearer  ", "-eyJ"):
        conceal(part * (500_000 // len(part)))
    assert time.process_time() - start < 20


def test_a_traceback_shows_none(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.py").write_text(
        "from calltune.config.table import Table\nclass Settings(Table): pass\n"
        f"def read(settings): return []\ndef fingerprint(settings): raise RuntimeError('{TOKEN}')\n"
        "def questions(settings): return []\n"
    )
    (tmp_path / "run.json").write_text(json.dumps(BASE | {"data": {"sources": [{"name": "x.mine"}]}, "evaluate": {}}))
    words = [sys.executable, "-m", "calltune", "prepare", "run.json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "RuntimeError: ***" in done.stderr
    assert "Traceback" in done.stderr
    assert TOKEN not in done.stderr

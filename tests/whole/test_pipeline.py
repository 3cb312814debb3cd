"""The whole way as jobs, with TRL on a tiny random Qwen3: interrupted, resumed, measured, fetched, cleaned away."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_aws import FakeAws, client
from fake_machine import Event, Machines
from sagemaker_account import sealed

from calltune.cli import main
from calltune.config.run_file import load_config
from calltune.verbs.prepare import run as prepare

STEPS = ["sft.max_steps=16", "sft.save_steps=2", "dpo.max_steps=24", "dpo.save_steps=2"]


def keys(fake: FakeAws, prefix: str) -> list[str]:
    pages = client("s3", fake.jobs.url).get_paginator("list_objects_v2").paginate(Bucket="toy-bucket", Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def step_of(key: str) -> int:
    return int(key.split("/checkpoint-")[1].split("/")[0])


def without_machine(report: dict) -> dict:
    """What two machines must agree on: all but seconds, and what tells of a stage's last attempt alone."""
    for stage in report["stages"].values():
        for key in ("train_seconds", "resumed_from", "shared_prefixes"):
            stage.pop(key, None)
    for result in report["results"]:
        result.pop("seconds")
    return report


def measured(checkpoint: str, benchmark: str) -> Callable[[Path], bool]:
    place = f"checkpoints/toy/eval/{checkpoint}/{benchmark}/manifest.json"
    return lambda root: (root / place).exists()


@pytest.fixture
def own_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A benchmark in a package of one's own, which the jobs have from this machine alone."""
    package = tmp_path / "own" / "bench_of_mine"
    package.mkdir(parents=True)
    (package / "asked.py").write_text("from calltune.evaluation.benchmarks.when2call_generation import *\n")
    monkeypatch.syspath_prepend(tmp_path / "own")
    return "bench_of_mine.asked"


def test_the_same_as_here_across_spot_interruptions(
    fake: FakeAws,
    sagemaker_file: Callable[..., Path],
    own_benchmark: str,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Interrupted in each job, with a template, a benchmark and an export that only this machine has."""
    file, cut = sagemaker_file("spot = true\nprice_per_hour = 1.0"), list[str]()
    template = tmp_path / "own" / "mine.jinja"
    template.write_text(f"{{# mine #}}{(tiny_model / 'chat_template.jinja').read_text()}")
    words = [*STEPS, f"evaluate.benchmarks.1.name={own_benchmark}", "evaluate.benchmarks.1.label=mine"]
    # How many questions a guard asks depends on the time that a step takes.
    words += [f"chat_template={template}", 'export.max_shard_size="5GB"', "guard.enabled=false"]

    def cut_off_the_newest_checkpoint(machines: Machines) -> None:
        if "-sft-" in machines.name:
            weights = [key for key in keys(fake, "calltune/toy/checkpoints/sft-") if key.endswith("model.safetensors")]
            newest = max((key for key in weights if "/checkpoint-" in key), key=step_of)
            client("s3", fake.jobs.url).put_object(Bucket="toy-bucket", Key=newest, Body=b"half")
            cut.append(f"checkpoint-{step_of(newest)}")

    begun = [sealed("sft", 4), sealed("dpo", 2), measured("sft", "when2call")]
    fake.jobs.events = [Event("interrupt", when) for when in begun]
    fake.jobs.between_attempts = cut_off_the_newest_checkpoint
    assert main(["run", str(file), *words, f"output={tmp_path}/here"]) == 0
    assert main(["run", str(file), *words, "--on", "sagemaker"]) == 0
    text = capsys.readouterr().out
    assert text.count("Interrupted: Training job interrupted, restarting") == 3
    # The second life of the evaluation went on from what the first had measured.
    assert "evaluate: base on when2call complete and unchanged, skipped" in text
    assert f"warning: sft: {cut[0]} cannot be used, model.safetensors has 4 bytes of" in text
    there = json.loads((tmp_path / "runs" / "toy" / "report.json").read_text())
    assert step_of(f"/{there['stages']['sft']['resumed_from']}") < step_of(f"/{cut[0]}")
    assert there["stages"]["dpo"]["resumed_from"].startswith("checkpoint-")
    here = json.loads((tmp_path / "here" / "toy" / "report.json").read_text())
    assert without_machine(there) == without_machine(here)
    answers = [f"eval/{name}/{asked}/completions.jsonl" for name in ("base", "sft", "dpo") for asked in ("mine",)]
    answers += [name.replace("/mine/", "/when2call/") for name in answers]
    for name in ("sft/model.safetensors", "dpo/model.safetensors", "export/model.safetensors", *answers):
        there_and_here = [(tmp_path / place / "toy" / name).read_bytes() for place in ("runs", "here")]
        assert there_and_here[0] == there_and_here[1], name
    assert text.count("export: the saved model is the checkpoint 'dpo'") == 2
    assert main(["sagemaker", "clean", str(file), *words, "--yes"]) == 0
    assert keys(fake, "") == []


@pytest.fixture
def mlflow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tracking server, to which the SageMaker plug-in is led instead of to AWS."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{tmp_path}/server.db"
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", store, "--workers", "1"]
    with (tmp_path / "mlflow.log").open("w") as log:
        # Without the background workers that a server of 3.17 starts for evaluations of its own.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        server = subprocess.Popen([sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, env=environment)
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=5).close()
                    break
                except OSError:
                    assert server.poll() is None, (tmp_path / "mlflow.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            monkeypatch.setenv("SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT", url)
            yield url
        finally:
            server.terminate()
            server.wait()


# MLflow's client, as it is imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_one_mlflow_run_across_an_interruption(
    fake: FakeAws, sagemaker_file: Callable[..., Path], mlflow_server: str
) -> None:
    from mlflow.tracking import MlflowClient

    arn = "arn:aws:sagemaker:us-east-1:123456789012:mlflow-tracking-server/toy"
    words = [*STEPS, 'stages=["sft"]']
    file = sagemaker_file(f'mlflow = "{arn}"')
    prepare(load_config(file, words))
    fake.jobs.events = [Event("interrupt", sealed("sft", 2))]
    assert main(["sft", str(file), *words, "--on", "sagemaker"]) == 0
    store = MlflowClient(tracking_uri=mlflow_server)
    experiment = store.get_experiment_by_name("calltune")
    assert experiment
    runs = {run.info.run_name: run for run in store.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["toy", "toy-sft"]
    assert len(store.search_runs([experiment.experiment_id])) == 2
    told = {(metric.step, metric.value) for metric in store.get_metric_history(runs["toy-sft"].info.run_id, "loss")}
    # The tracker may tell the step at which it goes on twice, with the same value.
    assert sorted(step for step, _ in told) == [*range(1, 17)]
    assert runs["toy-sft"].info.status == "FINISHED"

"""A run that is measured, reported and exported, planted without a model, with tables for its endpoint."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from planted_run import plant_run, run_file
from sagemaker_account import TABLE

from calltune.cli import main
from calltune.files.json_lines import write_json
from calltune.files.manifest import finish

ENDPOINT = """
[launch.sagemaker.deploy]
instance_type = "ml.g4dn.xlarge"
"""
SERVE = (
    "vllm serve export --enable-auto-tool-choice --tool-call-parser hermes --reasoning-parser qwen3 "
    """--override-generation-config '{"temperature": 0}'"""
)
PASSED, FAILED = "when2call.acc_norm >= 0.0", "when2call.acc_norm >= 1.0"

Exported = Callable[..., Path]


@pytest.fixture
def exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Exported:
    """Return the run file of such a run; `more` are lines of the endpoint's table."""

    def plant(rule: str = "", more: str = "", serve: str = SERVE, checkpoint: str = "dpo", weights: str = "w") -> Path:
        folder = plant_run(tmp_path / "toy", 8)
        for manifest in folder.glob("eval/*/*/manifest.json"):
            write_json(manifest, {**json.loads(manifest.read_text()), "inputs": {"model": manifest.parts[-3]}})
        gate = f'[gate]\nrules = ["{rule}"]\ndecide_by = "value"\n' if rule else ""
        file = run_file(folder, gate + TABLE + ENDPOINT + more)
        assert main(["report", str(file)]) == (3 if rule == FAILED else 0)
        capsys.readouterr()
        export = folder / "export"
        export.mkdir(exist_ok=True)
        (export / "model.safetensors").write_text(weights)
        (export / "config.json").write_text("{}")
        finish(export, {"model": checkpoint}, checkpoint=checkpoint, serve=serve, parity={})
        return file

    return plant

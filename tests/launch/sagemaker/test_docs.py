"""The policies allow what the code calls, and the page names every key."""

import json
import re
from pathlib import Path

import pytest

from calltune.config.launch import DeployConfig, SageMakerConfig

ROOT = Path(__file__).parents[3]
POLICIES = sorted((ROOT / "docs" / "sagemaker").glob("*.json"))


def allowed(name: str) -> set[str]:
    statements = json.loads((ROOT / "docs" / "sagemaker" / name).read_text())["Statement"]
    return {action for s in statements for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_nothing_is_allowed_by_a_star(file: Path) -> None:
    assert not [action for action in allowed(file.name) if "*" in action]


def test_the_caller_may_do_what_the_code_calls() -> None:
    """`aws.sagemaker.stop_training_job` and `aws.logs.get_paginator("...")` are actions of their names."""
    source = "".join(path.read_text() for path in (ROOT / "src/calltune/launch/sagemaker").glob("*.py"))
    called = {
        f"{service}:{''.join(word.title() for word in (page or name).split('_'))}"
        for service, name, page in re.findall(r'aws\.(sagemaker|logs)(?:_runtime)?\.(\w+)\((?:"(\w+)"\))?', source)
    }
    assert "sagemaker:InvokeEndpoint" in called
    assert len(called) >= 6
    assert called <= allowed("caller-policy.json")


def test_the_page_names_every_key() -> None:
    page = (ROOT / "docs" / "sagemaker.md").read_text()
    assert [key for key in SageMakerConfig.model_fields if f"`{key}`" not in page] == []
    table = page.partition("[launch.sagemaker.deploy]")[2]
    assert [key for key in DeployConfig.model_fields if f"`{key}`" not in table and f"\n{key} = " not in table] == []

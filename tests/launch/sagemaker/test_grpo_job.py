"""GRPO as a job: what it reads, what goes into it, and what the console draws of it."""

import re
from collections.abc import Callable
from pathlib import Path

from calltune.config.run_file import Config, load_config
from calltune.launch.sagemaker.plan import make_plan, stage_job, stages_of
from calltune.launch.sagemaker.request import StageJob, training_job

STAGES = 'stages=["sft","dpo","grpo"]'


def test_it_is_the_job_after_dpo_and_reads_all_questions(prepared: Callable[..., Config]) -> None:
    config = prepared(STAGES)
    assert stages_of(config) == ["sft", "dpo", "grpo", "evaluate"]
    plan, made = make_plan(config), {"sft": "s3://b/sft/", "dpo": "s3://b/dpo/", "grpo": "s3://b/grpo/"}
    assert set(stage_job(config, plan, "grpo", made).channels) == {"code", "data", "model", "sft", "dpo"}
    assert set(stage_job(config, plan, "evaluate", made).channels) == {"code", "data", "model", "sft", "dpo", "grpo"}
    assert set(stage_job(config, plan, "dpo", made).channels) == {"code", "data", "model", "sft"}


def test_its_own_table_makes_another_job_of_it_and_of_what_follows(prepared: Callable[..., Config]) -> None:
    plan = make_plan(prepared(STAGES))
    for override, same, other in [
        ("grpo.learning_rate=1e-3", ["sft", "dpo"], ["grpo", "evaluate"]),
        ('tuning.grpo={method="lora"}', ["sft", "dpo"], ["grpo", "evaluate"]),
        ("dpo.learning_rate=1e-3", ["sft"], ["dpo", "grpo", "evaluate"]),
    ]:
        changed = make_plan(prepared(STAGES, override)).identities
        assert [stage for stage in same if changed[stage] != plan.identities[stage]] == [], override
        assert [stage for stage in other if changed[stage] == plan.identities[stage]] == [], override


def test_the_console_draws_loss_and_reward(sagemaker_file: Callable[..., Path]) -> None:
    job = StageJob("grpo", "0" * 64, {"code": "s3://b/code/"})
    request = training_job(load_config(sagemaker_file()), job, 1)
    found = {each["Name"]: each["Regex"] for each in request["AlgorithmSpecification"]["MetricDefinitions"]}
    line = "grpo: 7/120 after 11 s loss -0.011, reward 0.453"
    values = {name: re.findall(pattern, line) for name, pattern in found.items()}
    assert values == {"grpo:loss": ["-0.011"], "grpo:reward": ["0.453"]}

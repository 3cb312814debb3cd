"""Answers as GRPO's trainer is handed them: the same whatever draws them, and the trainer is left as it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from calltune.config.run_file import Config, load_config
from calltune.errors import NotFiniteError
from calltune.models.backends.tokens import end_ids
from calltune.training.ready import Ready, get_ready
from calltune.training.rollouts import Rollouts, reason_for_trl
from calltune.training.settings import stage_settings
from calltune.training.sharing import Sharing
from calltune.training.trainer import make_trainer, share
from calltune.verbs import grpo, prepare

WARM = Path(__file__).parents[2] / "examples" / "tiny-qwen3"
GRPO = """[grpo]
per_device_train_batch_size = 8
num_generations = 4
max_completion_length = 40
beta = 0.1
temperature = 0.8
top_p = 0.95
"""


@pytest.fixture
def made(write_run_file: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Ready, Any, Sharing]]:
    """A stage that is ready over toy rows and the warmed-up model, its trainer, and what that shares."""

    def make(*words: str) -> tuple[Ready, Any, Sharing]:
        config: Config = load_config(write_run_file(GRPO, top='stages = ["grpo"]\nseed = 3', model=WARM), words)
        prepare.run(config)
        ready = get_ready(stage_settings(config, "grpo"), grpo.RECIPE, config.run_folder, config.model)
        trainer = make_trainer(ready)
        trainer.current_gradient_accumulation_steps = 1
        sharing = share(ready.settings, trainer)
        assert sharing.off_because is None
        return ready, trainer, sharing

    return make


def test_a_groups_answers_are_the_same_whether_its_prompt_is_shared_or_not(
    made: Callable[..., tuple[Ready, Any, Sharing]],
) -> None:
    ready, trainer, _ = made()
    trainer.model.train()
    texts = [text["prompt"] for text in ready.rows.texts]
    # A group may be cut where another process goes on with it.
    prompts = [texts[0]] * 4 + [texts[1]] * 4 + [texts[2]] * 2
    before, configured = torch.get_rng_state(), trainer.model.generation_config
    found = trainer.rollout_func(prompts, trainer)
    assert torch.equal(torch.get_rng_state(), before)
    assert trainer.model.training
    assert trainer.model.generation_config is configured
    assert trainer.rollout_func._live(trainer).shares_prompts
    assert found["logprobs"] is None
    assert found["prompt_ids"] == [ready.chat.tokenizer(text).input_ids for text in prompts]
    answers = found["completion_ids"]
    assert len({tuple(answer) for answer in answers}) >= 7
    ends = end_ids(configured, ready.chat)
    for answer in answers:
        assert 1 <= len(answer) <= 40
        assert not ends & {*answer[:-1]}
        assert answer[-1] in ends or len(answer) == 40

    plain = Rollouts(ready.chat, ready.arguments.seed)
    assert plain(prompts, trainer)["completion_ids"] == answers
    assert not plain._live(trainer).shares_prompts


def test_each_step_draws_anew_and_a_resumed_one_draws_the_same(made: Callable[..., tuple[Ready, Any, Sharing]]) -> None:
    ready, trainer, _ = made()
    prompts = [ready.rows.texts[0]["prompt"]] * 4

    def drawn(step: int, training: bool = True) -> list[list[int]]:
        trainer.state.global_step = step
        trainer.model.train(training)
        # Whatever was drawn by others meanwhile.
        torch.rand(step + 1)
        return trainer.rollout_func(prompts, trainer)["completion_ids"]

    first = drawn(0)
    assert drawn(1) != first
    assert drawn(0) == first
    # A step that draws several times draws anew each time.
    trainer.args.gradient_accumulation_steps, trainer._step = 4, 1
    assert drawn(0) != first
    trainer._step = 4
    assert drawn(0) == first
    # Validation compares one model with another, so it draws with the same numbers each time.
    assert drawn(5, training=False) == drawn(9, training=False) != first
    assert not trainer.model.training


def test_logits_that_are_no_numbers_end_the_stage(made: Callable[..., tuple[Ready, Any, Sharing]]) -> None:
    ready, trainer, _ = made()
    prompts = [ready.rows.texts[0]["prompt"]] * 2
    trainer.rollout_func(prompts, trainer)
    with torch.no_grad():
        trainer.model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="grpo: step 1: an answer was drawn from logits that are not finite"):
        trainer.rollout_func(prompts, trainer)


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo"])
def test_the_loss_over_shared_prefixes_is_trls_own(made: Callable[..., tuple[Ready, Any, Sharing]], loss: str) -> None:
    from trl.trainer.grpo_trainer import GRPOTrainer

    from calltune.models.load import load_model
    from calltune.training.trainer import to_dataset

    ready, trainer, sharing = made(f"grpo.loss_type={loss}")
    trainer.model.train()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    inputs["advantages"] = torch.linspace(-1.5, 2, 8)
    plain = GRPOTrainer(
        model=load_model(ready.model, torch.float32),
        reward_funcs=[lambda completions, **others: [0.0] * len(completions)],
        args=ready.arguments,
        train_dataset=to_dataset([{"prompt": "a"}] * 8),
        processing_class=ready.chat.tokenizer,
    )
    plain.current_gradient_accumulation_steps = 1
    plain.model.train()
    with torch.no_grad():
        # The policy has moved, the reference has not.
        for mine, theirs in zip(trainer.model.parameters(), plain.model.parameters(), strict=True):
            mine.add_(1e-2 * mine.abs().mean() * torch.linspace(-1, 1, mine.numel()).view_as(mine))
            theirs.copy_(mine)
    found = []
    for each in (trainer, plain):
        value = each.compute_loss(each.model, inputs)
        value.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in each.model.parameters()])
        found.append((value.detach(), gradient, each._metrics["train"]["kl"][-1]))
    (ours, our_gradient, our_kl), (theirs, their_gradient, their_kl) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert our_kl == pytest.approx(their_kl, abs=1e-5)
    assert our_kl > 0
    assert (our_gradient - their_gradient).norm() <= 1e-4 * their_gradient.norm()
    # Two prompts stand before eight answers.
    num_answer_tokens = int(inputs["completion_mask"].sum())
    assert sharing.num_computed_tokens < sharing.num_row_tokens / 2
    assert sharing.num_row_tokens - num_answer_tokens == int(inputs["prompt_mask"].sum())


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("grpo.top_k=20", "grpo.top_k is set"),
        ("grpo.min_p=0.1", "grpo.min_p is set"),
        ("grpo.repetition_penalty=1.1", "grpo.repetition_penalty is set"),
        ("grpo.use_vllm=true", "grpo.use_vllm is true"),
        ("grpo.use_transformers_continuous_batching=true", "grpo.use_transformers_continuous_batching is true"),
        ("grpo.temperature=0.5", None),
    ],
)
def test_what_calltunes_generation_does_not_know_is_drawn_by_trl(
    write_run_file: Callable[..., Path], word: str, reason: str | None
) -> None:
    config = load_config(write_run_file(GRPO, top='stages = ["grpo"]'), [word])
    assert reason_for_trl(stage_settings(config, "grpo").arguments) == reason


def test_a_group_stands_in_one_batch_of_a_step(made: Callable[..., tuple[Ready, Any, Sharing]]) -> None:
    _, trainer, _ = made("grpo.per_device_train_batch_size=4", "grpo.gradient_accumulation_steps=2")
    trainer.model.train()
    questions = next(iter(trainer.get_train_dataloader()))
    first = trainer._prepare_inputs(questions)
    trainer._step += 1
    second = trainer._prepare_inputs(questions)
    assert first["num_items_in_batch"] == second["num_items_in_batch"]
    names = {tuple(row) for part in (first, second) for row in part["prompt_ids"].tolist()}
    assert len(names) == 2
    for part in (first, second):
        assert len({tuple(row) for row in part["prompt_ids"].tolist()}) == 1
        assert part["completion_ids"].shape[0] == part["advantages"].shape[0] == 4

"""What a stage needs before its model is loaded: rows that fit, what is trained, memory, TRL's arguments."""

from dataclasses import dataclass, replace
from pathlib import Path

from calltune.calling.chat import Chat
from calltune.errors import ConfigError
from calltune.models.layer_kinds import missing_to_pack
from calltune.models.load import check_tokens, load_tokenizer
from calltune.runtime.processes import processes
from calltune.training.arguments import TrlArguments
from calltune.training.batch_tokens import batch_tokens
from calltune.training.memory import Memory, choose_memory
from calltune.training.passes import check_passes
from calltune.training.questions import asking_chat, fit_questions
from calltune.training.recipe import FittedRows, Recipe, fit_rows
from calltune.training.rollouts import require_sampler
from calltune.training.settings import StageSettings
from calltune.training.tuning import (
    TuningPlan,
    plan_tuning,
)


@dataclass(frozen=True, slots=True)
class Ready:
    """All that a stage needs before its model is loaded.

    `settings` are the run file's, with the bound of a pass that the memory asks for; `watched` are the validation rows;
    `arguments` are TRL's, complete.
    """

    settings: StageSettings
    recipe: Recipe
    model: str
    chat: Chat
    rows: FittedRows
    watched: FittedRows
    plan: TuningPlan
    memory: Memory
    arguments: TrlArguments


def get_ready(settings: StageSettings, recipe: Recipe, run_folder: Path, model: str) -> Ready:
    """Read a stage's rows and decide what is trained of the model, in which memory; loads no weights.

    Raises:
        CalltuneError: the data or the model is wrong, or the run file asks of the model what it does not have.
    """
    stage, file = settings.stage, run_folder / recipe.train_file
    chat = Chat(load_tokenizer(model, settings.chat_template), model)
    if recipe.rewards:
        require_sampler(settings.arguments)
        rows = fit_questions(asking_chat(chat, settings), recipe, file, settings, model)
    else:
        rows = fit_rows(chat, recipe, file, settings.max_length, settings.group_by, settings.thinking)
    if not rows.texts:
        what = "holds no question that can be asked" if recipe.rewards else "holds no rows"
        raise ConfigError(f"{stage}: {file} {what}; leave '{stage}' out of 'stages'")
    validation = run_folder / recipe.validation_file
    if recipe.rewards:
        watched = fit_questions(asking_chat(chat, settings), recipe, validation, settings, model)
    else:
        watched = fit_rows(chat, recipe, validation, rows.max_length, thinking=settings.thinking, needed=False)
    plan = plan_tuning(settings, model)
    check_tokens(plan.skeleton, chat, [chat.tokenizer.pad_token_id, rows.highest_token, watched.highest_token])
    _require_packable(settings, plan)
    check_passes(settings.tokens_per_batch, settings.arguments, plan.skeleton.config)
    # The processes of a machine do not find the same memory free at the same moment.
    choice = processes().first(
        lambda: choose_memory(settings, plan.skeleton, batch_tokens(settings, plan.skeleton, chat, rows))
    )
    settings = replace(settings, tokens_per_batch=choice.tokens_per_batch)
    # They also tell transformers of a sharded launch, which it must know before a model is loaded.
    arguments = settings.arguments_with(
        choice.checkpointing,
        output_dir=str(run_folder / recipe.name / "checkpoints"),
        **({} if recipe.rewards else {"max_length": rows.max_length}),
        eval_strategy="epoch" if watched.texts else "no",
    )
    return Ready(settings, recipe, model, chat, rows, watched, plan, choice.memory, arguments)


def _require_packable(settings: StageSettings, plan: TuningPlan) -> None:
    """Refuse packed rows where a model's layers could not keep them apart, which transformers says at the first step.

    Raises:
        ConfigError: names the key, and the packages that are missing.
    """
    key = next((key for key in ("packing", "padding_free") if getattr(settings.arguments, key, False)), None)
    if key and (missing := missing_to_pack(plan.skeleton)):
        raise ConfigError(
            f"'{settings.stage}.{key}': this model's layers with a state (convolutions, linear attention) keep packed "
            f"rows apart only with {' and '.join(missing)}: leave the key out, or pip install {' '.join(missing)}"
        )

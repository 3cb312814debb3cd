"""The questions that a stage asks of its own model: those for whose answers there is room, whole."""

from pathlib import Path
from typing import Any

from calltune.calling.chat import Chat
from calltune.calling.thoughts import without_thought
from calltune.errors import DataError
from calltune.models.load import model_config
from calltune.runtime.terminal import say
from calltune.training.recipe import FittedRows, Recipe
from calltune.training.settings import StageSettings


def asking_chat(chat: Chat, settings: StageSettings) -> Chat:
    """The mode in which questions are asked: with thinking both ways, mistakes with thinking off are mended."""
    return chat.in_mode(settings.thinking == "on")


def fit_questions(chat: Chat, recipe: Recipe, file: Path, settings: StageSettings, model: str) -> FittedRows:
    """Write every question as text, measure it, and leave out, whole, those that do not fit.

    A question fits when the model has room for its prompt and `max_completion_length` tokens more, and when its known
    answer is no longer than these. Nothing is cut: a prompt that is cut is another question.

    Returns:
        The questions, with `max_length` and `longest` the tokens of the longest prompt with the longest answer to it,
        and the tokens of prompts and known answers; `groups` are the behaviours.

    Raises:
        DataError: no question fits.
    """
    asked: Any = settings.arguments
    room: int = asked.max_completion_length
    limit = _limit(asked, model)
    rows = recipe.read(file)
    if settings.thinking != "on":
        rows = list(map(without_thought, rows))
    texts = [recipe.row_text(chat, row) for row in rows]
    prompts = [chat.tokenizer(text["prompt"]).input_ids for text in texts]
    wholes = [chat.tokenizer(text["prompt"] + text["completion"]).input_ids for text in texts]
    answers = [len(whole) - len(prompt) for prompt, whole in zip(prompts, wholes, strict=True)]
    has_room = [limit is None or len(prompt) + room <= limit for prompt in prompts]
    fits = [number for number, is_long in enumerate(answers) if has_room[number] and is_long <= room]
    if rows and not fits:
        raise DataError(
            f"{file}: no question fits: prompt and max_completion_length = {room:,} within {limit or 'any number of'} "
            f"tokens, and a known answer, of {min(answers):,} at least, within max_completion_length"
        )
    if rows:
        say(
            f"{recipe.name}: {file.name}: {len(fits):,} of {len(rows):,} questions fit; {has_room.count(False):,} left "
            f"out as prompt and answer have more than {limit or 0:,} tokens, "
            f"{len(rows) - len(fits) - has_room.count(False):,} as the known answer has more than "
            f"max_completion_length = {room:,}"
        )
    kept = set(fits)
    longest = max((len(prompts[number]) for number in fits), default=0) + room
    return FittedRows(
        texts=[texts[number] for number in fits],
        ids=[rows[number].id for number in fits],
        max_length=longest,
        too_long=[row.id for number, row in enumerate(rows) if number not in kept],
        num_tokens=sum(len(wholes[number]) for number in fits),
        num_answer_tokens=sum(answers[number] for number in fits),
        groups=[rows[number].behavior for number in fits],
        highest_token=max((max(ids, default=0) for ids in wholes), default=0),
        longest=longest,
        rows=[rows[number] for number in fits],
    )


def _limit(arguments: Any, model: str) -> int | None:
    """How many tokens the model, or vLLM as it is asked for, has room for; None where neither says."""
    if arguments.use_vllm and arguments.vllm_max_model_length:
        return arguments.vllm_max_model_length
    return getattr(model_config(model).get_text_config(), "max_position_embeddings", None)

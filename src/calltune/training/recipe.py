"""What a stage trains on and with, and its rows as text: those that fit, whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltune.calling.chat import Chat
from calltune.calling.thoughts import have_thoughts, in_both_modes, without_thought
from calltune.config.data import GroupBy
from calltune.config.stages import Stage, of_round
from calltune.errors import DataError
from calltune.files.json_lines import to_json
from calltune.runtime.terminal import say
from calltune.types import Example, Preference


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one stage trains on and with.

    Files of rows are named by their place in the run's folder; `read` may read those of `more_files`, beside them, too.
    `row_text` writes a row as the strings that TRL's trainer wants: `prompt`, and `completion` or `chosen` and
    `rejected`. Where answers are drawn, `rewards` makes the functions that judge them, of the chat, the
    tokens that end an answer, and the rows.
    """

    stage: Stage
    trainer: type
    train_file: str
    validation_file: str
    read: Callable[[Path], list[Any]]
    row_text: Callable[[Chat, Any], dict[str, str]]
    round: int = 1
    more_files: tuple[str, ...] = ()
    rewards: Callable[[Chat, Sequence[int], Sequence[Any]], list[Any]] | None = None

    @property
    def name(self) -> str:
        """What is trained: the stage, and in later rounds of mining which one of them it is."""
        return of_round(self.stage, self.round)


@dataclass(frozen=True, slots=True)
class FittedRows:
    """Rows as text, none longer than `max_length` tokens; the ids of those that were; the tokens trained on.

    `groups[i]` is the name of row i's group, `ids[i]` its id. `highest_token` is the highest id of a token in any row.
    `longest` is the number of tokens of the row or pair that has most, the prompt of a pair counted once.
    `num_thinking` counts those that are trained with thinking on; it is None where thinking is off for all. `rows` are
    the rows themselves where answers are drawn: they judge these.
    """

    texts: list[dict[str, str]]
    ids: list[str]
    max_length: int
    too_long: list[str]
    num_tokens: int
    num_answer_tokens: int
    groups: list[str]
    highest_token: int
    longest: int
    num_thinking: int | None = None
    rows: Sequence[Any] = ()

    def counts(self) -> dict[str, int]:
        """For the manifest: rows, tokens, and rows left out."""
        return {
            "rows": len(self.texts),
            "rows_too_long": len(self.too_long),
            "tokens": self.num_tokens,
            "answer_tokens": self.num_answer_tokens,
            **({} if self.num_thinking is None else {"rows_thinking": self.num_thinking}),
        }


def fit_rows(
    chat: Chat,
    recipe: Recipe,
    file: Path,
    max_length: int | None,
    group_by: GroupBy | None = None,
    thinking: str = "off",
    needed: bool = True,
) -> FittedRows:
    """Write every row as text, measure it, and leave out, whole, those that do not fit.

    A cut answer would teach a broken call, so nothing is ever cut: a row is trained on whole or left out and counted.

    Args:
        max_length: in tokens of prompt and longest answer; None takes the longest row's.
        group_by: what rows of one group have in common; without it each is in a group of its own.
        thinking: what `[chat] thinking` says; with "both" a row with a thought is taken without it, too.
        needed: whether there is nothing to do without rows; those that only watch over a stage may all be too long.

    Raises:
        DataError: no row fits of those that are needed.
    """
    rows = recipe.read(file)
    if thinking == "both":
        rows = in_both_modes(rows)
    elif thinking == "off":
        # They may have been prepared when the run file said otherwise.
        rows = list(map(without_thought, rows))
    texts = [recipe.row_text(chat.for_answers(row.answers), row) for row in rows]
    measured = [_measure(chat, text) for text in texts]
    lengths = [lengths for lengths, _ in measured]
    longest = [max(answers) for _, answers in lengths]
    limit = max_length or max(longest, default=0)
    fits = [number for number, length in enumerate(longest) if length <= limit]
    if rows and not fits and needed:
        raise DataError(f"{file}: no row fits into max_length = {limit}; the shortest has {min(longest)} tokens")
    too_long = [row.id for row, length in zip(rows, longest, strict=True) if length > limit]
    tokens = sum(sum(lengths[number][1]) for number in fits)
    prompts = sum(lengths[number][0] * len(lengths[number][1]) for number in fits)
    if rows:
        say(
            f"{recipe.name}: {file.name}: {len(fits):,} of {len(rows):,} rows fit into max_length = {limit:,} tokens, "
            f"{len(too_long):,} left out; {tokens - prompts:,} answer tokens of {tokens:,} are trained on"
        )
    groups = [_group(rows[number], group_by) for number in fits]
    kept, ids = [texts[number] for number in fits], [rows[number].id for number in fits]
    alone = max((_once(*lengths[number]) for number in fits), default=0)
    num_thinking = None
    if thinking != "off":
        num_thinking = sum(have_thoughts(rows[number].answers) for number in fits)
        if rows:
            say(f"{recipe.name}: {num_thinking:,} of them with thinking on, {len(fits) - num_thinking:,} with it off")
    highest = max((t for _, t in measured), default=0)
    return FittedRows(kept, ids, limit, too_long, tokens, tokens - prompts, groups, highest, alone, num_thinking)


def _group(row: Example | Preference, group_by: GroupBy | None) -> str:
    """What rows of one group, and no others, have in common.

    A conversation is told by how it begins: its rows have the same tools, and the same messages up to the first one of
    the user.
    """
    if group_by is None:
        return row.id
    tools = "".join(map(to_json, row.tools))
    if group_by == "tools":
        return tools
    first = next((number for number, message in enumerate(row.prompt) if message.role == "user"), 0)
    return tools + "".join(map(to_json, row.prompt[: first + 1]))


def _once(prompt: int, wholes: list[int]) -> int:
    """Tokens of a prompt and all its answers, by those of the prompt and of the prompt with each answer."""
    return prompt + sum(whole - prompt for whole in wholes)


def whole_texts(text: Mapping[str, str], ends: tuple[str, ...]) -> list[str]:
    """The prompt with each answer, as TRL's trainers tokenize them: they add an end where an answer has none.

    Args:
        ends: what may end an answer; the first is added.
    """
    return [text["prompt"] + _ended(answer, ends) for key, answer in text.items() if key != "prompt"]


def _ended(answer: str, ends: tuple[str, ...]) -> str:
    return answer if answer.endswith(ends) else answer + ends[0]


def trainer_rows(chat: Chat, texts: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Rows as TRL's trainers take them: strings, or conversations that a template writes out as they stand.

    TRL adds the end-of-sequence token to strings that do not end with it. Where an answer ends with another token, as
    calls do in Gemma 4 and gpt-oss, nothing may follow it, and to a conversation TRL adds nothing.
    """
    if all(text.endswith(chat.ends[0]) for row in texts for key, text in row.items() if key != "prompt"):
        return list(texts)
    keys = {"chat_template": chat.verbatim_template()}
    return [
        {
            key: [{"role": "user" if key == "prompt" else "assistant", "content": _whole(key, text, chat)}]
            for key, text in row.items()
        }
        | {"chat_template_kwargs": keys}
        for row in texts
    ]


def _whole(key: str, text: str, chat: Chat) -> str:
    return text if key == "prompt" else _ended(text, chat.ends)


def _measure(chat: Chat, text: Mapping[str, str]) -> tuple[tuple[int, list[int]], int]:
    """Tokens of the prompt, and of the prompt with each answer; and the highest id among them."""
    wholes = whole_texts(text, chat.ends)
    rows = chat.tokenizer([text["prompt"], *wholes]).input_ids
    return (len(rows[0]), [len(ids) for ids in rows[1:]]), max(map(max, filter(None, rows)), default=0)

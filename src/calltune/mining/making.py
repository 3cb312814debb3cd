"""From answers to the file of pairs, its statistics and what is shown of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calltune.calling.chat import Chat
from calltune.calling.parsed import thought_in, without_thoughts
from calltune.calling.thoughts import have_thoughts, settled
from calltune.config.training import MineConfig
from calltune.data.randomness import unit_interval
from calltune.data.rows import training_row
from calltune.errors import DataError
from calltune.files.json_lines import write_json, write_jsonl
from calltune.mining.asking import Asked
from calltune.mining.pairing import Candidate, Judged, balanced, candidates, drop_near_duplicates, preference
from calltune.mining.questions import Question
from calltune.mining.statistics import show_examples, show_statistics, statistics
from calltune.mining.verifying import verify
from calltune.types import Completion, Message, Preference

_NUM_SHOWN = 3


def write_pairs(
    folder: Path,
    chat: Chat,
    asked: Asked,
    answers: Sequence[Sequence[Completion]],
    given: Sequence[Preference],
    settings: MineConfig,
    seed: int,
) -> dict[str, Any]:
    """Verify the answers to each question, write `pairs.jsonl` and `statistics.json`, and print what they hold.

    Returns:
        What is in `statistics.json`.

    Raises:
        DataError: no pair could be made.
    """
    judged = [[(a, verify(q, a)) for a in own] for q, own in zip(asked.questions, answers, strict=True)]
    dropped = Counter[str]()
    every = _mined(settings, chat, asked.questions, judged, seed, dropped)
    if not every:
        raise DataError(
            f"{folder}: the model made no mistake that can be learned from; leave [mine] out of the run file"
        )
    wanted = settings.num_pairs or len(given) or len(every)
    taken = balanced(every, round(wanted * (1 - settings.given_share)), settings.even_calls)
    # The share holds though fewer were mined than wanted.
    num_given = round(len(taken) * settings.given_share / (1 - settings.given_share))
    kept = sorted(given, key=lambda pair: unit_interval(seed, "given", pair.id))[:num_given]
    pairs = [*(settled(preference(one, number)) for number, one in enumerate(taken)), *kept]
    pairs.sort(key=lambda pair: unit_interval(seed, "order", pair.id))
    write_jsonl(folder / "pairs.jsonl", map(training_row, pairs))
    told = {
        **statistics(asked.questions, judged, taken),
        "num_given": len(kept),
        "num_pairs": len(pairs),
        "num_wanted": wanted,
        "num_not_paired": {**dropped, "beyond num_pairs": len(every) - len(taken)},
        "contradicting": asked.contradicting,
        "not_verified": asked.problems,
    }
    write_json(folder / "statistics.json", told)
    show_statistics(told)
    show_examples(taken, _NUM_SHOWN)
    return told


def _mined(
    settings: MineConfig,
    chat: Chat,
    asked: Sequence[Question],
    judged: Sequence[Sequence[Judged]],
    seed: int,
    dropped: Counter[str],
) -> list[Candidate]:
    """All pairs that can be made, in an order that depends on seed and question alone."""

    def written(question: Question, completion: Completion) -> Message | None:
        return _written(chat, question, completion)

    found = [
        one
        for question, own in zip(asked, judged, strict=True)
        for one in candidates(question, own, settings.chosen, written, dropped)
    ]
    if chat.thinks:
        # What was wrong behind a thought is no mistake with thinking off.
        dropped["without a thought in both answers"] = sum(
            not have_thoughts((one.chosen, one.rejected)) for one in found
        )
        found = [one for one in found if have_thoughts((one.chosen, one.rejected))]
    found.sort(key=lambda one: unit_interval(seed, "mined", one.question.id, one.error))
    return drop_near_duplicates(found, dropped)


def _written(chat: Chat, question: Question, completion: Completion) -> Message | None:
    """The message that the template writes as this answer: the very text of a broken call, the same calls otherwise."""
    broken = completion.message is None
    message = _broken(chat, completion.text) if completion.message is None else completion.message
    if message is None:
        return None
    text = chat.strip_end(chat.answer(question.sample.messages, question.sample.tools, message))
    if broken:
        return message if text.strip() == completion.text.strip() else None
    read = chat.parse(text, question.sample.tools).message
    return message if read and read == message and read.thought == message.thought else None


def _broken(chat: Chat, text: str) -> Message | None:
    """The message that a broken answer's text is: its words behind its thought; None where the thought never ends."""
    if not chat.thinks:
        return Message("assistant", text)
    words = without_thoughts(text)
    return None if words is None else Message("assistant", words, thought=thought_in(text))

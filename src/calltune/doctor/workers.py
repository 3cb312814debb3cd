"""Rows to facts in several processes, in the order of the rows, whatever their number."""

import multiprocessing
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice

from calltune.chat import Chat
from calltune.doctor.facts import Examiner, Facts
from calltune.doctor.questions import AskedQuestions
from calltune.template_proof import Proof
from calltune.types import Example, Preference, Rejected

_ROWS_PER_TASK = 128
_TASKS_AHEAD = 3
"""Per process, so that none waits and few rows are held."""

_Row = tuple[int, Example | Preference | Rejected]
_examiner: Examiner | None = None


def examine(
    rows: Iterable[_Row], chat: Chat, questions: AskedQuestions, num_workers: int
) -> Iterator[tuple[Facts, str]]:
    """Facts and JSON line of each row, in their order.

    Args:
        rows: the number of its source, and the row.
        num_workers: processes; rows for one task alone are looked at in this one.
    """
    rows = iter(rows)
    first = list(islice(rows, _ROWS_PER_TASK))
    if num_workers == 1 or len(first) < _ROWS_PER_TASK:
        examiner = Examiner(Proof(chat), questions)
        for source, row in chain(first, rows):
            yield examiner.look(row, source)
        return
    tasks = chain([first], iter(lambda: list(islice(rows, _ROWS_PER_TASK)), []))
    # Spawned, not forked: a worker needs neither torch nor what this process has read, and forked tokenizers may hang.
    context = multiprocessing.get_context("spawn")
    setting = pickle.dumps((chat.tokenizer, chat.name, questions))
    with ProcessPoolExecutor(num_workers, context, _begin, (setting,)) as pool:
        waiting: deque[Future[list[tuple[Facts, str]]]] = deque()
        for task in tasks:
            waiting.append(pool.submit(_look, task))
            if len(waiting) >= _TASKS_AHEAD * num_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _begin(setting: bytes) -> None:
    global _examiner
    tokenizer, name, questions = pickle.loads(setting)
    _examiner = Examiner(Proof(Chat(tokenizer, name)), questions)


def _look(task: list[_Row]) -> list[tuple[Facts, str]]:
    assert _examiner is not None, "the worker was begun"
    return [_examiner.look(row, source) for source, row in task]

"""Turns rows into facts with a model's template, in several processes.

A process that only writes, tokenizes and checks rows needs neither torch nor a tokenizer's tables in Python, which
together take four times its memory. So the tokenizer is loaded once, in a process of its own, and packed.
"""

import pickle
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedTokenizerFast

from calltune.calling.chat import Chat
from calltune.calling.template_proof import Proof, prove_template
from calltune.calling.thinking_proof import prove_thoughts
from calltune.data.doctor.contamination import AskedQuestions
from calltune.data.doctor.facts import Examiner, Facts
from calltune.data.doctor.looking import looked_at
from calltune.data.doctor.spool import NumberedRow
from calltune.runtime.workers import worker_processes
from calltune.types import Message, Tool


@dataclass(frozen=True, slots=True)
class PackedChat:
    """What `Chat` needs of a model, in little space: a pickled tokenizer without Python's copy of its tables."""

    name: str
    tokenizer: bytes
    notes: tuple[str, ...] = ()
    """What the proof of the template found."""

    thinking: str = "off"
    """What `[chat] thinking` says."""

    def open(self) -> Chat:
        """Return the model's `Chat`; `torch` is not imported."""
        return Chat(pickle.loads(self.tokenizer), self.name)


def load_packed(model: str, chat_template: str | None = None, thinking: str = "off") -> PackedChat:
    """Load a model's tokenizer and prove its template.

    This happens in a process of its own, unless this process has torch already.

    Args:
        chat_template: a Jinja file that takes the place of the model's own template.
        thinking: what `[chat] thinking` says.

    Raises:
        ModelError: there is no tokenizer, or its template fails its proof.
    """
    if "torch" in sys.modules:
        return _load(model, chat_template, thinking)
    with worker_processes(1) as pool:
        return pool.submit(_load, model, chat_template, thinking).result()


def _load(model: str, chat_template: str | None, thinking: str) -> PackedChat:
    from calltune.models.load import load_tokenizer

    chat = Chat(load_tokenizer(model, chat_template), model)
    return pack(chat, (*prove_template(chat), *prove_thoughts(chat, thinking)), thinking)


def pack(chat: Chat, notes: tuple[str, ...] = (), thinking: str = "off") -> PackedChat:
    """Return a chat that can be sent to workers.

    Its tokenizer stays as it is where a smaller one would write or read differently.
    """
    full: Any = chat.tokenizer
    if getattr(full, "backend_tokenizer", None) is None:
        return PackedChat(chat.name, pickle.dumps(full), notes, thinking)
    small = PreTrainedTokenizerFast(
        tokenizer_object=full.backend_tokenizer, chat_template=full.chat_template, **full.special_tokens_map
    )
    same = [_traits(tokenizer, chat.name) for tokenizer in (small, full)]
    return PackedChat(chat.name, pickle.dumps(small if same[0] == same[1] else full), notes, thinking)


def _traits(tokenizer: Any, name: str) -> list[Any]:
    chat = Chat(tokenizer, name)
    tools = [Tool("t", "Ünï\n\n {}", {"type": "object", "properties": {"a": {"type": "integer", "default": 12345}}})]
    prompt = chat.prompt([Message("user", "  Does it 'read' \u4f60\u597d, 1234567 \U0001f642 the same?\t\n")], tools)
    tokens = sorted((number, repr(token)) for number, token in tokenizer.added_tokens_decoder.items())
    return [prompt, tokenizer(prompt).input_ids, tokenizer.eos_token, tokenizer.bos_token, tokens]


def examine(
    rows: Iterable[NumberedRow], chat: PackedChat, questions: AskedQuestions, num_workers: int
) -> Iterator[tuple[Facts, str]]:
    """Yield the facts and the JSON line of each row, in the order of the rows, as `looked_at` does."""
    return looked_at(rows, partial(_examiner, chat, questions), num_workers)


def _examiner(chat: PackedChat, questions: AskedQuestions) -> Examiner:
    return Examiner(Proof(chat.open(), chat.thinking), questions)

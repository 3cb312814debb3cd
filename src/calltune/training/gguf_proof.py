"""What is held of a GGUF file against the model it was made of: tokens, prompts, answers and decisions.

llama.cpp reads a file with a tokenizer, a template engine and arithmetic of its own, and each has been wrong before. So
the run's own prompts go through it before a file is kept.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calltune.calling.behavior import message_behavior
from calltune.calling.chat import Chat
from calltune.calling.differences import difference, num_common
from calltune.calling.layout import TEMPLATE_KEYS, THINKING_KEYS, message_dicts, tool_dict
from calltune.errors import ModelError
from calltune.evaluation.statistics import mcnemar_mid_p
from calltune.models.backends.tokens import completion, end_ids
from calltune.models.llama_cpp import LlamaCpp
from calltune.models.parity import margin_of_parting, tie
from calltune.runtime.terminal import ProgressBar
from calltune.types import Behavior, Completion, Message, Sample, Tool

NEW_TOKENS = 96
"""The longest answer that is asked for, in tokens."""

_WORSE = 0.05
"""Below this probability (McNemar's mid-p) lost decisions are not put down to chance."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of the run's own, and its right answer."""

    id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    answer: Message
    behavior: Behavior

    def prompt(self, chat: Chat) -> str:
        """Its text, in the mode of thinking in which its answer was taught."""
        return chat.for_answers((self.answer,)).prompt(self.messages, self.tools)


@dataclass(frozen=True, slots=True)
class Same:
    """How greedy answers of the f16 file compare with the model's own, in float32."""

    num_answers: int
    num_same: int
    num_undecided: int

    def sentence(self) -> str:
        """For the user and the card."""
        rest = f"; {self.num_undecided} part where two tokens were about as likely" if self.num_undecided else ""
        return f"{self.num_same} of {self.num_answers} greedy answers are the model's, token by token{rest}"


@dataclass(frozen=True, slots=True)
class Paired:
    """Answers of one file beside those of the f16 file to the same questions.

    `same_calls` counts questions that either of the two answered with calls, where both made the same calls, and
    `num_calls` all of those. `right` and `right_f16` count answers with the right decision and, where it is to call,
    exactly the right calls; `lost` were right in f16 alone, and `gained` here alone.
    """

    num_questions: int
    same_decisions: int
    same_calls: int
    num_calls: int
    right: int
    right_f16: int
    lost: int
    gained: int

    @property
    def is_worse(self) -> bool:
        """Whether more was lost than gained, and more than chance explains."""
        return self.lost > self.gained and mcnemar_mid_p(self.lost, self.gained) < _WORSE

    def sentence(self) -> str:
        """For the user."""
        return (
            f"decides as f16 in {self.same_decisions} of {self.num_questions} questions, the same calls in "
            f"{self.same_calls} of {self.num_calls}; right in {self.right} ({self.right_f16} in f16; {self.lost} lost, "
            f"{self.gained} gained)"
        )


def require_same_tokens(chat: Chat, file: LlamaCpp, texts: Sequence[str]) -> None:
    """Hold llama.cpp's tokens of texts against the model's own.

    Raises:
        ModelError: a text has other tokens: which text, and from where on.
    """
    for number, text in enumerate(texts):
        ours, theirs = chat.tokenizer(text).input_ids, file.tokens(text)
        if ours != theirs:
            place = num_common(ours, theirs)
            words = chat.tokenizer.decode(ours[max(place - 4, 0) : place + 2])
            raise ModelError(
                f"export.gguf: prompt {number + 1} of {len(texts)} has other tokens in llama.cpp than in the model, "
                f"from token {place + 1} on, at {words!r}: {theirs[place : place + 3]} for {ours[place : place + 3]}"
            )


def require_same_prompts(chat: Chat, file: LlamaCpp, questions: Sequence[Asked]) -> None:
    """Hold what llama.cpp writes with the file's chat template against what the model was taught with.

    Raises:
        ModelError: a conversation is written otherwise, or refused.
    """
    begin = str(chat.tokenizer.bos_token or "")
    for number, asked in enumerate(questions):
        mode = chat.for_answers((asked.answer,))
        ours = mode.prompt(asked.messages, asked.tools)
        keys = THINKING_KEYS if mode.thinks else TEMPLATE_KEYS
        messages = message_dicts(asked.messages, arguments_as_text=True)
        theirs = file.prompt(messages, [tool_dict(tool) for tool in asked.tools], **keys)
        if theirs != ours and theirs.removeprefix(begin) != ours:
            before, taught, written = difference(ours, theirs)
            raise ModelError(
                f"export.gguf: llama.cpp writes prompt {number + 1} of {len(questions)} otherwise than the model was "
                f"taught: behind {before} it writes {written} instead of {taught}"
            )


def require_same_answers(model: Any, chat: Chat, file: LlamaCpp, questions: Sequence[Asked]) -> Same:
    """Hold greedy answers of the f16 file against those of the model.

    Args:
        model: in float32, on its device.

    Raises:
        ModelError: an answer parts from the model's where that had been decided.
    """
    same = undecided = 0
    ends, bound = end_ids(model.generation_config, chat), tie(torch.float16)
    with ProgressBar("gguf: f16 beside the model", len(questions)) as bar:
        for number, asked in enumerate(questions):
            prompt = chat.tokenizer(asked.prompt(chat)).input_ids
            ours, scores = _greedy(model, prompt)
            theirs = file.answer(prompt, NEW_TOKENS)
            margin = margin_of_parting(ours, theirs, scores)
            if not margin <= bound:
                raise ModelError(
                    f"export.gguf: f16: the answer to question {number + 1} of {len(questions)} is another than the "
                    f"model's, where that was decided by {margin:.2g} nats ({bound:.2g} are rounding)"
                )
            if not margin and len(ours) != len(theirs):
                raise ModelError(
                    f"export.gguf: f16: the answer to question {number + 1} ends after {len(theirs)} tokens, and the "
                    f"model's after {len(ours)}: the file ends answers at other tokens than {sorted(ends)}"
                )
            same += ours == theirs
            undecided += margin > 0
            bar.advance()
    return Same(len(questions), same, undecided)


@torch.inference_mode()
def _greedy(model: Any, prompt: list[int]) -> tuple[list[int], torch.Tensor]:
    """A greedy answer, and the log-probabilities of all tokens at each of its tokens, [tokens, vocabulary]."""
    ids = torch.tensor([prompt], device=model.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    scores = torch.cat(made.logits).float().log_softmax(-1).cpu()
    return made.sequences[0, len(prompt) :].tolist(), scores


def ask_all(
    chat: Chat,
    file: LlamaCpp,
    ends: Collection[int],
    questions: Sequence[Asked],
    prompts: Sequence[list[int]],
    what: str,
) -> list[Completion]:
    """A file's greedy answers.

    Args:
        ends: the ids of the tokens that may end an answer.
        prompts: token ids of each question.
        what: the file, for the bar.
    """
    answers: list[Completion | None] = [None] * len(questions)
    # Prompts that begin alike follow one another: what they share is computed once.
    order = sorted(range(len(questions)), key=lambda number: prompts[number])
    with ProgressBar(f"gguf: questions to {what}", len(questions)) as bar:
        for number in order:
            asked = questions[number]
            sample = Sample(asked.id, "gguf", asked.messages, asked.tools, None)
            mode = chat.for_answers((asked.answer,))
            answers[number] = completion(mode, ends, sample, file.answer(prompts[number], NEW_TOKENS))
            bar.advance()
    return [answer for answer in answers if answer is not None]


def pair(questions: Sequence[Asked], f16: Sequence[Completion], other: Sequence[Completion]) -> Paired:
    """Compare answers to the same questions."""
    both = list(zip(f16, other, strict=True))
    right = [(_is_right(asked, one), _is_right(asked, two)) for asked, (one, two) in zip(questions, both, strict=True)]
    calling = [(one, two) for one, two in both if _calls(one) or _calls(two)]
    return Paired(
        num_questions=len(both),
        same_decisions=sum(_decision(one) == _decision(two) for one, two in both),
        same_calls=sum(_calls(one) == _calls(two) for one, two in calling),
        num_calls=len(calling),
        right=sum(two for _, two in right),
        right_f16=sum(one for one, _ in right),
        lost=sum(one and not two for one, two in right),
        gained=sum(two and not one for one, two in right),
    )


def _decision(answer: Completion) -> str:
    return message_behavior(answer.message) if answer.message else answer.status


def _calls(answer: Completion) -> tuple[Any, ...]:
    return answer.message.tool_calls if answer.message else ()


def _is_right(asked: Asked, answer: Completion) -> bool:
    return _decision(answer) == asked.behavior and _calls(answer) == asked.answer.tool_calls

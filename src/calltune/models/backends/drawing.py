"""Drawing tokens with numbers of a question's own, so that an answer does not depend on the rest of its batch.

transformers draws all rows of a batch from one generator: another batch, other answers. Here each answer has its own
numbers, one a token, and a token is the one on whose stretch of the running sum of probabilities its number falls. The
logits then leave that token alone, so that greedy generation writes it.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from transformers import LogitsProcessor


def question_seed(seed: int, question: str, answer: int = 0) -> int:
    """32 bits for one answer to one question."""
    return int.from_bytes(hashlib.sha256(f"{seed} {answer} {question}".encode()).digest()[:4], "big")


def numbers_for(seed: int, questions: Sequence[str], num_answers: int, count: int) -> torch.Tensor:
    """Numbers in [0, 1), [questions * num_answers, count]: an answer's row depends on seed, question and its number."""
    rows = []
    for question in questions:
        for answer in range(num_answers):
            rng = random.Random(question_seed(seed, question, answer))
            rows.append([rng.random() for _ in range(count)])
    return torch.tensor(rows, dtype=torch.float32)


@dataclass(slots=True)
class Answer:
    """The tokens of an answer, with the one that ends it; `is_finite` is False where logits were no numbers.

    `is_open` says that it may go on.
    """

    tokens: list[int]
    is_finite: bool = True
    is_open: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Drawing:
    """How answers are drawn: the `numbers` are [prompts * num_answers, tokens], from `numbers_for`."""

    numbers: torch.Tensor
    num_answers: int
    temperature: float
    top_p: float

    def of(self, prompts: Sequence[int]) -> "Drawing":
        """The same for some of the prompts."""
        rows = [prompt * self.num_answers + answer for prompt in prompts for answer in range(self.num_answers)]
        return replace(self, numbers=self.numbers[rows])

    def tokens(self, logits: torch.Tensor, answers: torch.Tensor, step: int) -> torch.Tensor:
        """The tokens that answers draw in a step from the logits of their rows; answers and tokens [rows, answers]."""
        return draw(logits, self.numbers[answers, step], self.temperature, self.top_p)


class Watch(LogitsProcessor):
    """Leaves logits as they are and notes where a row's are no numbers, from which greedy decoding takes any token."""

    def __init__(self) -> None:
        self._bad: list[torch.Tensor] = []
        self._first: list[int] | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.FloatTensor:
        """The scores."""
        # A nan is the largest of its row; a minus infinity may stand beside numbers.
        self._bad.append(~scores.amax(-1).isfinite())
        return scores  # pyright: ignore[reportReturnType]

    def first(self, row: int) -> int | None:
        """The first token of a row, counted from its prompt's end, that was taken from no numbers; None without one."""
        if self._first is None:
            # Read once, after the last token: asking the device for each of them would make it wait.
            bad = torch.stack(self._bad).cpu()
            self._first = [int(column.nonzero()[0]) if column.any() else -1 for column in bad.T]
        return None if self._first[row] < 0 else self._first[row]


class Draw(LogitsProcessor):
    """Leaves, in each row, the token that the row's next number draws (`draw`)."""

    def __init__(self, numbers: torch.Tensor, prompt_length: int, temperature: float, top_p: float) -> None:
        """Keep the numbers.

        Args:
            numbers: one row a sequence, one column a token that is to be drawn.
            prompt_length: of the padded prompts, in tokens.
        """
        self._numbers, self._prompt_length = numbers, prompt_length
        self._temperature, self._top_p = temperature, top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.FloatTensor:
        """Scores of which one in each row is 0 and the others are minus infinity."""
        number = self._numbers[:, input_ids.shape[1] - self._prompt_length, None]
        token = draw(scores, number, self._temperature, self._top_p)
        drawn = torch.full_like(scores, float("-inf"))
        return drawn.scatter_(-1, token, 0.0)  # pyright: ignore[reportReturnType]


def draw(scores: torch.Tensor, number: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """The tokens that each row's numbers draw, [rows, numbers of a row], as the numbers are.

    Temperature divides the logits; then the likeliest tokens are kept whose probabilities reach `top_p` together. The
    sums are float64: in float32 their rounding, which hangs on the last bit of every logit, would decide now and then
    between two neighbours, so that another batch would draw another token.
    """
    probabilities, number = (scores.double() / temperature).softmax(-1), number.double()
    if top_p == 1:
        # Sorting a vocabulary for each token takes as long as a small model does.
        return _place(probabilities.cumsum(-1), number, probabilities.shape[-1])
    sorted_, order = probabilities.sort(dim=-1, descending=True, stable=True)
    sums = sorted_.cumsum(-1)
    # A token is kept when those before it do not reach top_p yet, so the likeliest always is; where logits are no
    # numbers none would be, and some token has to be drawn all the same: whoever asked is told that they are none.
    num_kept = (sums - sorted_ < top_p).sum(-1, keepdim=True).clamp(min=1)
    return order.gather(-1, _place(sums, number, num_kept))


def _place(sums: torch.Tensor, number: torch.Tensor, num_kept: torch.Tensor | int) -> torch.Tensor:
    """The place on whose stretch of the running sums of those kept each row's number falls."""
    last = torch.as_tensor(num_kept, device=sums.device).expand(len(sums), 1) - 1
    # float32 rounds the largest numbers to 1, which no stretch holds.
    return torch.minimum(torch.searchsorted(sums, number * sums.gather(-1, last), right=True), last)

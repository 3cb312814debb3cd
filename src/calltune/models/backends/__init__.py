"""What runs a model; `BackendModule` is what each module of this family has, `OpenedBackend` what it makes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pydantic

from calltune.config.entries import Family
from calltune.types import Completion, Sample, Sampling, ScoringRequest

if TYPE_CHECKING:
    from calltune.calling.chat import Chat

Keys = TypeVar("Keys", bound=pydantic.BaseModel)


class OpenedBackend(Protocol):
    """One model, ready to be asked."""

    @property
    def chat(self) -> "Chat | None":
        """The model's way to write a conversation; None where a server writes the prompts."""
        ...

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Per request, per continuation, the summed natural log-probability."""
        ...

    def answer(self, samples: Sequence[Sample], max_new_tokens: int, thinking: bool | None = None) -> list[Completion]:
        """Greedy answers, in the order of the samples.

        Args:
            thinking: whether to think before an answer. It is given only where the run file has `[chat] thinking`;
                without it models are asked with thinking off, and a server does as it is set.
        """
        ...

    def sample(
        self, samples: Sequence[Sample], max_new_tokens: int, sampling: Sampling, thinking: bool | None = None
    ) -> list[list[Completion]]:
        """Answers drawn at random as `sampling` says, in the order of the samples; `thinking` as in `answer`.

        They depend on its seed and the sample's id and not on what else is asked, as far as arithmetic allows.
        """
        ...


class BackendModule(Protocol[Keys]):
    """A module that runs models."""

    @property
    def Settings(self) -> type[Keys]:
        """The model of its own keys in `[evaluate.backend_options]`."""
        ...

    def Backend(
        self, model: str, tokens_per_batch: int, settings: Keys, chat_template: str | None = None
    ) -> OpenedBackend:
        """Load a model.

        Args:
            model: a Hub id or a local folder.
            tokens_per_batch: upper bound of tokens in one forward pass, padding included.
            chat_template: a Jinja file that takes the place of the model's own template.

        Raises:
            CalltuneError: it cannot be loaded.
        """
        ...


BACKENDS: Family[BackendModule[Any]] = Family(
    "backend",
    BackendModule,
    {
        "hf": "calltune.models.backends.hf",
        "openai": "calltune.models.backends.openai",
        "vllm": "calltune.models.backends.vllm",
    },
)

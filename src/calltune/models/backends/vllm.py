"""vLLM's offline engine as a backend, for checkpoints on a GPU; vLLM is imported only with this module.

Follows vLLM's documented interface: `LLM(model, **engine_arguments)`, `llm.generate(prompts, sampling_params)` with
`TokensPrompt`, `SamplingParams(prompt_logprobs=...)` and `RequestOutput` (vllm 00388f6, `sampling_params.py`,
`outputs.py`). Prompts are rendered and answers parsed here, by the same code as in the `hf` backend, so the two differ
in the engine's arithmetic alone. vLLM ignores its prefix cache where log-probabilities of the prompt are asked.
"""

from collections.abc import Callable, Sequence
from math import fsum, isfinite
from pathlib import Path
from typing import Any

import pydantic
import vllm  # pyright: ignore[reportMissingImports]  # an extra of its own, with its own torch

from calltune.calling.chat import Chat
from calltune.config.table import Table
from calltune.errors import ModelError
from calltune.models.backends.drawing import question_seed
from calltune.models.backends.tokens import completion, encode_requests, end_ids, not_finite
from calltune.models.load import generation_config, load_skeleton, load_tokenizer
from calltune.types import Completion, Sample, Sampling, ScoringRequest


class Settings(Table):
    """`[evaluate.backend_options]` of the `vllm` backend."""

    engine: dict[str, Any] = pydantic.Field(default_factory=dict)
    """Goes word for word to `vllm.LLM`, such as `tensor_parallel_size`, `max_model_len`, `gpu_memory_utilization`."""

    @pydantic.field_validator("engine")
    @classmethod
    def _no_code(cls, engine: dict[str, Any]) -> dict[str, Any]:
        if "trust_remote_code" in engine:
            raise ValueError("'trust_remote_code' cannot be set: code of a model's folder is never run")
        return engine


class Backend:
    """One model in one engine."""

    def __init__(self, model: str, tokens_per_batch: int, settings: Settings, chat_template: str | None = None) -> None:
        """Start the engine.

        Args:
            model: a Hub id or a local folder.
            tokens_per_batch: upper bound of tokens in one step of the engine.
            settings: further arguments of the engine, which win over those set here.
            chat_template: a Jinja file that takes the place of the model's own template.

        Raises:
            ModelError: the model cannot be loaded, its template cannot write tools, or the engine does not start.
        """
        self.chat = Chat(load_tokenizer(model, chat_template), model)
        if Path(model).is_dir():
            # Told in calltune's words, and before the engine takes the device.
            load_skeleton(model)
        self._model = model
        self._ends = end_ids(generation_config(model), self.chat)
        options: dict[str, Any] = {
            "dtype": "bfloat16",
            "load_format": "safetensors",
            "trust_remote_code": False,
            "seed": 0,
            "max_num_batched_tokens": tokens_per_batch,
            "max_num_seqs": min(256, tokens_per_batch),
            # vLLM does not reckon with the float32 scores of a whole step's tokens; this leaves them room.
            "gpu_memory_utilization": 0.8,
            **settings.engine,
        }
        try:
            self._engine = vllm.LLM(model=model, **options)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"model '{model}': vLLM does not start: {reason}") from error
        self._num_positions: int = self._engine.llm_engine.model_config.max_model_len

    def loglikelihood(self, requests: Sequence[ScoringRequest]) -> list[list[float]]:
        """Per request and continuation, the natural log-probability of the continuation's tokens, summed.

        Raises:
            ModelError: a request does not fit the model's length.
        """
        pairs = encode_requests(self.chat.tokenizer, requests)
        longest = max((len(context) + len(rest) for context, rest in pairs), default=0)
        # vLLM always generates, here one token that nobody reads, which needs a place, too.
        if longest + 1 > self._num_positions:
            raise ModelError(
                f"model '{self._model}': a question of {longest} tokens does not fit its length of "
                f"{self._num_positions}; raise engine.max_model_len, if the model allows it"
            )
        asked = vllm.SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        outputs = self._generate([context + rest for context, rest in pairs], [asked] * len(pairs))
        # By token id, as the likeliest token stands beside the prompt's own. The first place has nothing before it.
        sums = iter(
            fsum(
                place[token].logprob for place, token in zip(output.prompt_logprobs[len(context) :], rest, strict=True)
            )
            for output, (context, rest) in zip(outputs, pairs, strict=True)
        )
        return [[next(sums) for _ in request.continuations] for request in requests]

    def answer(self, samples: Sequence[Sample], max_new_tokens: int, thinking: bool | None = None) -> list[Completion]:
        """Greedy answers; one that does not end within `max_new_tokens` or the model's length is `truncated`.

        A prompt that leaves no room for an answer is an `error`.
        """
        chat, greedy = self.chat.in_mode(bool(thinking)), {"temperature": 0.0}
        return [answers[0] for answers in self._answers(chat, samples, max_new_tokens, 1, lambda sample: greedy)]

    def sample(
        self, samples: Sequence[Sample], max_new_tokens: int, sampling: Sampling, thinking: bool | None = None
    ) -> list[list[Completion]]:
        """Answers drawn at random, each question with a seed of its own; prompts without room as in `answer`."""

        def drawing(sample: Sample) -> dict[str, Any]:
            own = question_seed(sampling.seed, sample.id)
            return {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "n": sampling.num_answers,
                "seed": own,
            }

        chat = self.chat.in_mode(bool(thinking))
        return self._answers(chat, samples, max_new_tokens, sampling.num_answers, drawing)

    def _answers(
        self,
        chat: Chat,
        samples: Sequence[Sample],
        max_new_tokens: int,
        num_answers: int,
        drawing: Callable[[Sample], dict[str, Any]],
    ) -> list[list[Completion]]:
        prompts = [chat.tokenizer(chat.prompt(s.messages, s.tools)).input_ids for s in samples]
        rooms = [min(max_new_tokens, self._num_positions - len(prompt)) for prompt in prompts]
        fitting = [number for number, room in enumerate(rooms) if room > 0]
        asked = [
            # With the log-probability of each token that was written, which tells whether its logits were numbers.
            vllm.SamplingParams(
                max_tokens=rooms[number], stop_token_ids=sorted(self._ends), logprobs=0, **drawing(samples[number])
            )
            for number in fitting
        ]
        outputs = dict(zip(fitting, self._generate([prompts[number] for number in fitting], asked), strict=True))
        return [
            [
                completion(chat, self._ends, sample, written.token_ids)
                if written.cumulative_logprob is None or isfinite(written.cumulative_logprob)
                else not_finite(sample)
                for written in outputs[number].outputs
            ]
            if number in outputs
            else [_too_long(sample, len(prompts[number]), self._num_positions)] * num_answers
            for number, sample in enumerate(samples)
        ]

    def _generate(self, prompts: Sequence[list[int]], params: Sequence[Any]) -> list[Any]:
        if not prompts:
            return []
        tokens = [vllm.TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
        return self._engine.generate(tokens, list(params), use_tqdm=False)


def _too_long(sample: Sample, length: int, num_positions: int) -> Completion:
    reason = f"the prompt of {length} tokens leaves no room in the model's length of {num_positions}"
    return Completion(sample.id, None, "", "error", reason=reason)

"""vLLM itself cannot be installed on every machine: it needs a GPU and its own torch.

So these tests put a small stand-in with vLLM's documented interface (`LLM`, `SamplingParams`, `TokensPrompt`,
`RequestOutput.prompt_logprobs`, `CompletionOutput.token_ids`) in its place, which computes with transformers. They hold
what the backend asks and how it reads what comes back; not that vLLM's own arithmetic agrees.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from changed_models import with_number

from calltune.config.entries import load_module
from calltune.config.table import parse_options
from calltune.data.sources import synthetic
from calltune.errors import ConfigError, ModelError
from calltune.models.backends import BACKENDS, hf
from calltune.models.load import load_model
from calltune.types import Message, Sample, Sampling, ScoringRequest

NAME = "calltune.models.backends.vllm"


class SamplingParams:
    """Takes the documented names that the backend uses, and no other."""

    def __init__(
        self,
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        max_tokens: int | None = 16,
        prompt_logprobs: int | None = None,
        logprobs: int | None = None,
        detokenize: bool = True,
        stop_token_ids: list[int] | None = None,
    ) -> None:
        self.temperature, self.max_tokens, self.prompt_logprobs = temperature, max_tokens, prompt_logprobs
        self.n, self.top_p, self.seed, self.logprobs = n, top_p, seed, logprobs
        self.stop_token_ids = stop_token_ids or []


def TokensPrompt(*, prompt_token_ids: list[int]) -> dict[str, list[int]]:
    """In vLLM a TypedDict."""
    return {"prompt_token_ids": prompt_token_ids}


class LLM:
    """One sequence after the other, in float32."""

    started: list[dict[str, Any]]
    max_model_len = 4096
    broken = ""

    def __init__(self, model: str, **options: Any) -> None:
        if self.broken:
            raise RuntimeError(self.broken)
        self.started.append({"model": model, **options})
        self._model = load_model(model, torch.float32).eval()
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=self.max_model_len))

    @torch.inference_mode()
    def generate(self, prompts: list[dict], sampling_params: list[SamplingParams], use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        return [
            self._generate(prompt["prompt_token_ids"], params)
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]

    def _generate(self, ids: list[int], params: SamplingParams) -> Any:
        assert params.max_tokens is not None
        if len(ids) + 1 > self.max_model_len or len(ids) + params.max_tokens > self.max_model_len:
            raise ValueError("The decoder prompt is longer than the maximum model length")
        scored = torch.log_softmax(self._model(torch.tensor([ids])).logits[0].float(), dim=-1)
        places: list[dict[int, Any] | None] = [None]
        for row, token in zip(scored[:-1], ids[1:], strict=True):
            likeliest = int(row.argmax())
            places.append({t: SimpleNamespace(logprob=float(row[t])) for t in (likeliest, token)})
        generator = torch.Generator().manual_seed(params.seed or 0)
        outputs = [self._output(ids, params, generator) for _ in range(params.n)]
        logprobs = places if params.prompt_logprobs is not None else None
        return SimpleNamespace(prompt_logprobs=logprobs, outputs=outputs)

    def _output(self, ids: list[int], params: SamplingParams, generator: torch.Generator) -> Any:
        tokens = self._write(ids, params, generator)
        logits = self._model(torch.tensor([ids + tokens])).logits[0, len(ids) - 1 : -1]
        written = logits.log_softmax(-1)[range(len(tokens)), tokens].sum()
        # Without the log-probabilities of what was written, there is no sum of them.
        return SimpleNamespace(
            token_ids=tuple(tokens), cumulative_logprob=None if params.logprobs is None else float(written)
        )

    def _write(self, ids: list[int], params: SamplingParams, generator: torch.Generator) -> list[int]:
        assert params.max_tokens is not None
        tokens: list[int] = []
        while len(tokens) < params.max_tokens and not (tokens and tokens[-1] in params.stop_token_ids):
            logits = self._model(torch.tensor([ids + tokens])).logits[0, -1]
            if params.temperature:
                # Among the likeliest two, where `top_p` leaves out any, is enough for a stand-in.
                kept = logits.topk(2 if params.top_p < 1 else len(logits))
                place = torch.multinomial((kept.values / params.temperature).softmax(-1), 1, generator=generator)
                tokens.append(int(kept.indices[place]))
            else:
                tokens.append(int(logits.argmax()))
        return tokens


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The backend's module over the stand-in; its `LLM` may be told to break."""
    stand_in: Any = ModuleType("vllm")
    stand_in.SamplingParams, stand_in.TokensPrompt = SamplingParams, TokensPrompt
    stand_in.LLM = type("LLM", (LLM,), {"started": []})
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


def questions(count: int) -> list[Sample]:
    return [
        Sample(example.id, "toy", example.prompt, example.tools, example.behavior)
        for example in synthetic.examples(seed=3, num_examples=count)
    ]


def test_scores_and_answers_are_the_hf_backend_s(vllm: Any, tiny_model: Path) -> None:
    backend, plain = vllm.Backend(str(tiny_model), 2048, vllm.Settings()), hf.Backend(str(tiny_model), 2048)
    asked = questions(3)
    texts = ("Yes.", "I can't do that.\nSorry.", '<tool_call>\n{"name": "x", "arguments": {}}\n</tool_call>')
    requests = [
        ScoringRequest(backend.chat.prompt(s.messages, s.tools), texts[: number + 1]) for number, s in enumerate(asked)
    ]
    for ours, theirs in zip(backend.loglikelihood(requests), plain.loglikelihood(requests), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert backend.answer(asked, max_new_tokens=5) == plain.answer(asked, max_new_tokens=5)
    assert backend.loglikelihood([]) == []
    assert backend.answer([], max_new_tokens=5) == []


def test_drawn_answers_depend_on_seed_and_question(vllm: Any, tiny_model: Path) -> None:
    backend, asked = vllm.Backend(str(tiny_model), 2048, vllm.Settings()), questions(3)
    first, second = (Sampling(2, top_p=0.9, seed=seed) for seed in (1, 2))
    answers = backend.sample(asked, 5, first)
    assert [[answer.sample_id for answer in pair] for pair in answers] == [[sample.id] * 2 for sample in asked]
    assert backend.sample(asked[1:2], 5, first) == answers[1:2]
    assert backend.sample(asked, 5, second) != answers
    assert backend.sample([], 5, first) == []


def test_engine_arguments(vllm: Any, tiny_model: Path) -> None:
    settings = parse_options(vllm.Settings, {"engine": {"max_model_len": 2048, "dtype": "float32"}}, "x")
    vllm.Backend(str(tiny_model), 300, settings)
    (started,) = vllm.vllm.LLM.started
    assert started["model"] == str(tiny_model)
    assert (started["max_model_len"], started["dtype"]) == (2048, "float32")
    assert (started["load_format"], started["trust_remote_code"]) == ("safetensors", False)
    assert (started["max_num_batched_tokens"], started["max_num_seqs"]) == (300, 256)
    vllm.vllm.LLM.broken = "Engine core initialization failed.\nSee root cause above."
    with pytest.raises(ModelError, match=r"vLLM does not start: Engine core initialization failed\. See root"):
        vllm.Backend(str(tiny_model), 300, settings)
    with pytest.raises(ConfigError, match="unknown key 'engin', did you mean 'engine'"):
        parse_options(vllm.Settings, {"engin": {}}, "x")
    with pytest.raises(ConfigError, match="'trust_remote_code' cannot be set: code of a model's folder is never run"):
        parse_options(vllm.Settings, {"engine": {"trust_remote_code": True}}, "x")


def test_answers_from_no_numbers_are_errors(vllm: Any, tiny_model: Path, tmp_path: Path) -> None:
    backend = vllm.Backend(str(with_number(tiny_model, tmp_path / "nan")), 2048, vllm.Settings())
    (answer,) = backend.answer(questions(1), 5)
    assert (answer.status, answer.reason) == ("error", "the model's logits are not finite (look at its weights)")


def test_what_does_not_fit(vllm: Any, tiny_model: Path) -> None:
    short, long = questions(1)[0], Sample("long", "toy", (Message("user", "word " * 900),), (), "x")
    backend = vllm.Backend(str(tiny_model), 2048, vllm.Settings())
    length = len(backend.chat.tokenizer(backend.chat.prompt(short.messages, short.tools)).input_ids)
    vllm.vllm.LLM.max_model_len = length + 3
    backend = vllm.Backend(str(tiny_model), 2048, vllm.Settings())
    first, second = backend.answer([long, short], max_new_tokens=50)
    assert (first.sample_id, first.status, first.message) == ("long", "error", None)
    assert "leaves no room in the model's length" in first.reason
    assert (second.status, second.reason) == ("truncated", "no end within 3 tokens")
    drawn = backend.sample([long, short], 50, Sampling(2))
    assert [[answer.status for answer in pair] for pair in drawn] == [["error"] * 2, ["truncated"] * 2]
    with pytest.raises(ModelError, match=r"does not fit its length of \d+; raise engine.max_model_len"):
        backend.loglikelihood([ScoringRequest(backend.chat.prompt(long.messages, ()), ("Yes.",))])


def test_without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    with pytest.raises(ConfigError, match="backend 'vllm' needs the package 'vllm', which is not installed"):
        load_module(BACKENDS, "vllm", "evaluate.backend")

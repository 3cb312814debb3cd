import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import warm

from calltune.calling.chat import Chat
from calltune.data.sources import synthetic
from calltune.evaluation.benchmarks import when2call
from calltune.models.backends import hf
from calltune.models.backends.hf import Backend
from calltune.models.backends.tokens import encode_requests
from calltune.models.load import load_model
from calltune.types import Example, Sample, ScoringRequest


def plain_loglikelihood(model, tokenizer, prompt: str, continuation: str) -> float:
    """One sequence, no batch, no padding, no trick: the textbook way."""
    stripped = prompt.rstrip()
    num_context = len(tokenizer(stripped).input_ids)
    whole = tokenizer(prompt + continuation).input_ids
    scored = whole[num_context:]
    with torch.no_grad():
        logits = model(torch.tensor([whole]), logits_to_keep=len(scored) + 1).logits[0, :-1]
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    return float(sum(row[token] for row, token in zip(logprobs, scored, strict=True)))


def requests_of(chat: Chat, samples: list[Sample]) -> list[ScoringRequest]:
    return [
        ScoringRequest(
            chat.prompt(s.messages, s.tools), tuple(chat.answer(s.messages, s.tools, c) for c in s.choices.values())
        )
        for s in samples
    ]


def as_sample(example: Example) -> Sample:
    return Sample(example.id, "toy", example.prompt, example.tools, example.behavior)


@pytest.mark.parametrize("tokens_per_batch", [256, 4096])
def test_scores_are_a_plain_forward_s(tiny_model: Path, tokens_per_batch: int) -> None:
    backend = Backend(str(tiny_model), tokens_per_batch)
    model, tokenizer = load_model(str(tiny_model), torch.float32), backend.chat.tokenizer
    samples = [as_sample(example) for example in synthetic.examples(seed=1, num_examples=6)]
    texts = ("Yes.", "I can't do that for you.\nSorry.", '<tool_call>\n{"name": "x", "arguments": {}}\n</tool_call>')
    requests = [ScoringRequest(backend.chat.prompt(s.messages, s.tools), texts) for s in samples]
    for request, values in zip(requests, backend.loglikelihood(requests), strict=True):
        expected = [plain_loglikelihood(model, tokenizer, request.prompt, text) for text in texts]
        assert values == pytest.approx(expected, rel=1e-5)


def test_an_evaluation_says_its_kernels_where_there_are_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was measured without them stays as it is; one made beside it with them is another one."""
    assert hf.Settings().model_dump(mode="json") == {"dtype": "auto"}
    assert hf.Settings(fused_kernels="off").model_dump(mode="json") == {"dtype": "auto"}
    untried = hf.Settings(continuous_batching="off").model_dump(mode="json")
    assert untried == {"dtype": "auto", "continuous_batching": "off"}
    (tmp_path / "liger_kernel").mkdir()
    (tmp_path / "liger_kernel" / "__init__.py").touch()
    (tmp_path / "liger_kernel-0.8.5.dist-info").mkdir()
    (tmp_path / "liger_kernel-0.8.5.dist-info" / "METADATA").write_text("Name: liger-kernel\nVersion: 0.8.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert hf.Settings().model_dump(mode="json") == {"dtype": "auto"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hf.Settings().model_dump(mode="json") == {"dtype": "auto", "fused_kernels": "liger 0.8.5"}
    assert hf.Settings(fused_kernels="off").model_dump(mode="json") == {"dtype": "auto"}


def test_it_computes_in_what_the_run_file_asks_for(tiny_model: Path) -> None:
    samples = [as_sample(example) for example in synthetic.examples(seed=1, num_examples=4)]
    texts = ("Yes.", "I can't do that for you.\nSorry.")
    given = {}
    for dtype in ("auto", "float32", "bfloat16"):
        backend = Backend(str(tiny_model), 4096, hf.Settings(dtype=dtype))
        requests = [ScoringRequest(backend.chat.prompt(s.messages, s.tools), texts) for s in samples]
        given[dtype] = [value for values in backend.loglikelihood(requests) for value in values]
    assert given["auto"] == given["float32"]
    assert given["bfloat16"] != given["float32"]
    assert given["bfloat16"] == pytest.approx(given["float32"], rel=0.05)


def test_gold_scores_of_real_rows_are_a_plain_forward_s(shared_data: Path, tmp_path: Path) -> None:
    """Twenty of NVIDIA's rows, the real Qwen3 tokenizer and template, random weights."""
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "qwen3")
    tokenizer.chat_template = (shared_data / "qwen3" / "chat_template.jinja").read_text(encoding="utf-8")
    tokenizer.save_pretrained(tmp_path)
    Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=151_936,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(str(tmp_path))
    backend, model = Backend(str(tmp_path), 4096), load_model(str(tmp_path), torch.float32)
    rows = shared_data / "when2call" / "nvidia_test_dev.jsonl"
    samples = list(when2call.samples(when2call.Settings(path=str(rows), limit=20)))
    requests = requests_of(backend.chat, samples)
    for request, values in zip(requests, backend.loglikelihood(requests), strict=True):
        expected = [plain_loglikelihood(model, tokenizer, request.prompt, text) for text in request.continuations]
        assert values == pytest.approx(expected, rel=1e-5)
        assert values.index(max(values)) == expected.index(max(expected))


FAMILIES: dict[str, dict[str, Any]] = {
    "Qwen3": {},
    "Llama": {},
    "Mistral": {"sliding_window": 100},
    "Gemma3": {
        "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"],
        "final_logit_softcapping": 5.0,
    },
    "Gemma2": {},
    "Lfm2": {"layer_types": ["conv", "full_attention"]},
    "Qwen3_5": {"layer_types": ["linear_attention", "full_attention"]},
}


def model_of(family: str, tiny_model: Path, folder: Path) -> str:
    """A random model of two layers and a wide spread, with the tiny model's tokenizer."""
    torch.manual_seed(0)
    names = [f"{family}TextConfig", f"{family}Config"]
    config = next(getattr(transformers, name) for name in names if hasattr(transformers, name))(
        vocab_size=3072,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.2,
        **FAMILIES[family],
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model / name, folder / name)
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(str(folder))
    return str(folder)


FORKED = [
    ScoringRequest("You may call f or g.\nWhat is the weather?\n", ("Sunny.", "Sunny. Warm.", "I cannot.", "Sunny.")),
    ScoringRequest("You may call f or g.\nWhat is the time?\n", ("Noon.", "I cannot.")),
    ScoringRequest("You may call f or g.\nWhat is the weather?\n", ("Sunny.", "Which town?")),
    ScoringRequest("Nothing in common with the others", (" at all",)),
    ScoringRequest("You may call f or g. " * 20, ("Yes.", "No.")),
]
UNLIKE = [
    ScoringRequest("A first prompt", (" ends.",)),
    ScoringRequest("a", (" b",)),
    ScoringRequest("the second prompt", (" ends so.",)),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_prefixes_change_no_score(
    family: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_of(family, tiny_model, tmp_path)
    plain = Backend(folder, tokens_per_batch=4096, share_prefixes=False)
    # The bound of 64 tokens is smaller than a row.
    for shared in [Backend(folder, tokens_per_batch=bound) for bound in (64, 300, 4096)]:
        for requests in (FORKED, UNLIKE, FORKED[:1], UNLIKE[:1], []):
            flat = [value for values in shared.loglikelihood(requests) for value in values]
            expected = [value for values in plain.loglikelihood(requests) for value in values]
            assert flat == pytest.approx(expected, rel=1e-5)
        assert shared._shares() is (family != "Gemma2")
        assert (shared._states is not None) is (family in ("Lfm2", "Qwen3_5"))
    # Said once by each of the three.
    assert capsys.readouterr().out.count("soft-capped") == (3 if family == "Gemma2" else 0)
    monkeypatch.setattr(hf, "_HEAD_LOGITS", 7 * 3072)
    flat = [value for values in shared.loglikelihood(FORKED) for value in values]
    assert flat == pytest.approx([value for values in plain.loglikelihood(FORKED) for value in values], rel=1e-5)


def test_each_token_of_a_prefix_is_computed_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Backend(str(tiny_model), tokens_per_batch=4096)
    backend.loglikelihood(UNLIKE)
    widths = []
    backbone = backend._model.base_model
    backbone.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    pairs = encode_requests(backend.chat.tokenizer, FORKED)
    rows = [context + rest[:-1] for context, rest in pairs]
    backend.loglikelihood(FORKED)
    assert widths[0] == len({tuple(row[: place + 1]) for row in rows for place in range(len(row))})
    assert widths[0] < sum(map(len, rows)) / 2


@pytest.mark.parametrize(
    ("family", "reason"), [("Qwen3", None), ("Gemma2", "soft-capped"), ("Lfm2", None), ("Qwen3_5", None)]
)
def test_answers_of_a_model_that_cannot_share_are_computed_for_themselves(
    family: str, reason: str | None, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_of(family, tiny_model, tmp_path)
    samples = [as_sample(example) for example in synthetic.examples(seed=2, num_examples=4)]
    expected = Backend(folder, 4096, share_prefixes=False).answer(samples, max_new_tokens=5)
    backend = Backend(folder, 4096)
    for _ in range(2):
        assert backend.answer(samples, max_new_tokens=5) == expected
    printed = capsys.readouterr().out
    assert printed.count("every prompt is computed for itself before it is answered") == (1 if reason else 0)
    assert (reason or "") in printed


def test_a_hybrid_model_that_forgets_is_scored_row_by_row(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_of("Lfm2", tiny_model, tmp_path)
    expected = Backend(folder, 4096, share_prefixes=False).loglikelihood(FORKED)
    backend = Backend(folder, 4096)
    layer = backend._model.base_model.layers[0].conv
    own = layer.forward
    layer.forward = lambda hidden_states, past_key_values, **others: own(hidden_states, None, **others)
    for _ in range(2):
        assert backend.loglikelihood(FORKED) == expected
    assert capsys.readouterr().out.count("once for each of its choices: its states are others") == 1


def test_answers_are_the_same_after_scoring(tiny_model: Path) -> None:
    samples = [as_sample(example) for example in synthetic.examples(seed=2, num_examples=3)]
    backend = Backend(str(tiny_model), 8192)
    before = backend.answer(samples, max_new_tokens=6)
    backend.loglikelihood(FORKED)
    assert backend.answer(samples, max_new_tokens=6) == before


def test_answers_do_not_depend_on_the_batch(tiny_model: Path) -> None:
    samples = [as_sample(example) for example in synthetic.examples(seed=2, num_examples=7)]
    together = Backend(str(tiny_model), 8192).answer(samples, max_new_tokens=6)
    alone = Backend(str(tiny_model), 256).answer(samples, max_new_tokens=6)
    assert [c.sample_id for c in together] == [s.id for s in samples]
    assert together == alone


def test_answers_are_greedy_whatever_the_checkpoint_says(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sampling"
    shutil.copytree(tiny_model, folder)
    settings = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "eos_token_id": [0, 2]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    samples = [as_sample(example) for example in synthetic.examples(seed=3, num_examples=4)]
    plain = Backend(str(tiny_model), 2048).answer(samples, max_new_tokens=8)
    assert Backend(str(folder), 2048).answer(samples, max_new_tokens=8) == plain


def test_more_tokens_than_the_model_was_made_for_is_told_once(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "short"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 64}))
    backend = Backend(str(folder), 2048)
    samples = [as_sample(example) for example in synthetic.examples(seed=1, num_examples=2)]
    for _ in range(2):
        assert len(backend.answer(samples, max_new_tokens=4)) == 2
    assert capsys.readouterr().out.count("more than the 64 that this model was made for") == 1


# A vocabulary of Qwen's size, of which only what a choice needs may be computed: all at once would be over 1 GB.
PEAK = """
import resource, sys
from calltune.models.backends.hf import Backend
from calltune.types import ScoringRequest
backend = Backend(sys.argv[1], 16_384, share_prefixes=False)
words = " yes" * 60
backend.loglikelihood([ScoringRequest("A question", (" yes",))])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
backend.loglikelihood([ScoringRequest("A question", tuple(words + " no" * n for n in range(16)))])
unit = 1 << 20 if sys.platform == 'darwin' else 1 << 10
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit)
"""


def test_memory_does_not_grow_with_the_batch_times_the_vocabulary(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    shutil.copytree(tiny_model, folder)
    model = load_model(str(tiny_model), torch.float32)
    model.resize_token_embeddings(151_936, mean_resizing=False)
    model.save_pretrained(str(folder))
    done = warm.run("-c", PEAK, str(folder))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 350, "MiB"

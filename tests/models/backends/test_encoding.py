import random
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from calltune.errors import ModelError
from calltune.models.backends.tokens import encode_requests, fresh_starts
from calltune.models.load import load_tokenizer
from calltune.types import ScoringRequest

# Parts that meet at the edges in every way: special tokens, halves of them, spaces, letters that merge.
PARTS = ("<s>", "</s>", "<call>", "<call>x", "<|a|>", "|>", "<", "s>", "x", " ", "\n", "ab", "aB", "a", "b", "é", ". ")


def characters(*added: AddedToken, pre=None, normalizer=None, post=None) -> PreTrainedTokenizerFast:
    """A tokenizer of characters and a few merges; the rest is as asked."""
    letters = [*"▁ \n<>/|.abcdefghijklmnopqrstuvwxyzAB[]{}'\",:_", "Ã", "©", "Ġ", "Ċ"]
    merges = [("a", "b"), ("x", "a"), ("▁", "a"), ("Ġ", "a"), (" ", "a"), ("\n", "\n"), ("|", ">")]
    vocabulary = {token: number for number, token in enumerate([*letters, *("".join(pair) for pair in merges), "?"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="?"))
    if pre is not None:
        core.pre_tokenizer = pre
    if normalizer is not None:
        core.normalizer = normalizer
    core.add_tokens(list(added))
    if post is not None:
        core.post_processor = processors.TemplateProcessing(single=post, special_tokens=[("<s>", 51), ("</s>", 51)])
    return PreTrainedTokenizerFast(tokenizer_object=core)


def token(content: str, **kwargs: bool) -> AddedToken:
    return AddedToken(content, **{"normalized": False, "special": True, **kwargs})


BOTH = (token("<s>"), token("</s>"))
TOKENIZERS = {
    "plain": (lambda: characters(*BOTH), {"<s>", "</s>"}),
    "byte level": (lambda: characters(*BOTH, pre=pre_tokenizers.ByteLevel(add_prefix_space=True)), {"<s>", "</s>"}),
    "a first space": (lambda: characters(*BOTH, pre=pre_tokenizers.Metaspace(prepend_scheme="first")), {"<s>", "</s>"}),
    "a space at every piece": (
        lambda: characters(*BOTH, normalizer=normalizers.Prepend("▁")),
        {"<s>", "</s>"},
    ),
    "a token before": (lambda: characters(*BOTH, post="<s> $A"), {"<s>", "</s>"}),
    "a token after": (lambda: characters(*BOTH, post="<s> $A </s>"), set()),
    "longer ones": (lambda: characters(*BOTH, token("<call>"), token("<call>x")), {"<s>", "</s>", "<call>", "<call>x"}),
    "one in another": (lambda: characters(token("x<s>"), token("<s>"), token("|>")), {"x<s>", "|>"}),
    "eating spaces": (lambda: characters(token("<s>", lstrip=True), token("</s>", rstrip=True)), set()),
    "standing alone": (lambda: characters(token("<s>", single_word=True), token("</s>")), {"</s>"}),
    "normalized": (
        lambda: characters(token("aB", normalized=True), token("<s>"), normalizer=normalizers.Lowercase()),
        {"<s>"},
    ),
    "none": (lambda: characters(), set()),
}


def plainly(tokenizer: PreTrainedTokenizerBase, request: ScoringRequest) -> list[tuple[list[int], list[int]]]:
    """Whole texts, each on its own, as lm-eval 0.4.13 does."""
    context = tokenizer(request.prompt.rstrip()).input_ids
    return [(context, tokenizer(request.prompt + text).input_ids[len(context) :]) for text in request.continuations]


def scorable(tokenizer: PreTrainedTokenizerBase, request: ScoringRequest) -> bool:
    return all(context and rest for context, rest in plainly(tokenizer, request))


def random_requests(seed: int, parts: tuple[str, ...], number: int) -> list[ScoringRequest]:
    draw = random.Random(seed)
    texts = ["".join(draw.choices(parts, k=draw.randint(1, 12))) for _ in range(4 * number)]
    return [ScoringRequest(texts[4 * n], tuple(texts[4 * n + 1 : 4 * n + 4])) for n in range(number)]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_are_those_of_whole_texts(name: str) -> None:
    make, starts = TOKENIZERS[name]
    tokenizer = make()
    assert set(fresh_starts(tokenizer)) == starts
    requests = [request for request in random_requests(0, PARTS, 2000) if scorable(tokenizer, request)]
    assert len(requests) > 1000
    expected = [pair for request in requests for pair in plainly(tokenizer, request)]
    assert encode_requests(tokenizer, requests) == expected


def test_special_tokens_read_as_text_start_nothing() -> None:
    tokenizer = characters(*BOTH)
    tokenizer.split_special_tokens = True
    assert fresh_starts(tokenizer) == []


@pytest.mark.parametrize("name", ["qwen3", "stories260K"])
def test_tokens_of_real_tokenizers(shared_data: Path, name: str) -> None:
    tokenizer = load_tokenizer(str(shared_data / name))
    parts = (*(token.content for token in tokenizer.added_tokens_decoder.values()), *PARTS)
    requests = [request for request in random_requests(1, parts, 500) if scorable(tokenizer, request)]
    expected = [pair for request in requests for pair in plainly(tokenizer, request)]
    assert encode_requests(tokenizer, requests) == expected


def test_a_prompt_is_tokenized_once(tiny_model: Path) -> None:
    tokenizer, lengths = load_tokenizer(str(tiny_model)), []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(tokenizer, name)

        def __call__(self, texts: str | list[str], **kwargs: bool) -> object:
            lengths.extend(map(len, [texts] if isinstance(texts, str) else texts))
            return tokenizer(texts, **kwargs)

    prompt = "<|im_start|>user\n" + 50 * "Is it late? " + "<|im_end|>\n<|im_start|>assistant\n"
    encode_requests(Counting(), [ScoringRequest(prompt, ("Yes.", "No.", "Perhaps."))])
    assert sum(lengths) < len(prompt) + 200


@pytest.mark.parametrize(("prompt", "continuation"), [("Yes.", ""), ("\n", "Yes.")])
def test_nothing_to_score_or_to_score_after_is_refused(tiny_model: Path, prompt: str, continuation: str) -> None:
    with pytest.raises(ModelError):
        encode_requests(load_tokenizer(str(tiny_model)), [ScoringRequest(prompt, (continuation,))])


def test_white_space_at_the_end_of_the_prompt_is_scored(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    [(context, rest)] = encode_requests(tokenizer, [ScoringRequest("<|im_start|>assistant\n", ("Yes.",))])
    assert tokenizer.decode(context) == "<|im_start|>assistant"
    assert tokenizer.decode(rest) == "\nYes."

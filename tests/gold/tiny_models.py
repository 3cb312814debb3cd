"""Models and a tokenizer that are rebuilt bit by bit, so that recorded log-likelihoods can be checked anywhere.

Weights come from integer arithmetic, not from a random generator, whose normal draws differ between CPU types.
"""

import math

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)

# Byte-level spelling: Ġ is a space, Ċ a newline. The last merges cross the edge between prompt and continuation.
MERGES = (
    ("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("e", "r"), ("o", "n"), ("Ġ", "a"), ("r", "e"), ("a", "t"),
    ("in", "g"), ("o", "u"), ("e", "n"), ("i", "s"), ("o", "r"), ("Ġ", "{"), ("{", '"'), ('"', ":"), ("Ċ", "Ċ"),
    (",", "Ġ"), ("Ġ", "c"), ("a", "l"), ("al", "l"), ("t", "o"), ("to", "o"), ("too", "l"), ("n", "a"), ("m", "e"),
    ("na", "me"), (".", "Ċ"), ("?", "Ċ"), (">", "ĊĊ"), ("]", "ĊĊ"), ("?", '{"'), ("name", "ing"), ("name", "er"),
)  # fmt: skip

# Qwen's and Llama 3's way to cut text: newlines stay with the punctuation before them.
PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CHAT_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def toy_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 297 tokens, all in the source above: no training, no files."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*SPECIAL_TOKENS, *alphabet, *(left + right for left, right in MERGES)]
    core = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=list(MERGES)))
    pieces = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>", chat_template=CHAT_TEMPLATE)


def tiny_qwen3(vocab_size: int, seed: int = 0) -> Qwen3ForCausalLM:
    """A Qwen3 of two layers and width 64 in float32, its weights a fixed function of `seed`.

    The spread is larger than a fresh model's, so that log-likelihoods differ by whole nats and depend on the context.
    """
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    model = Qwen3ForCausalLM(config).to(torch.float32)
    with torch.no_grad():
        for index, (name, parameter) in enumerate(sorted(model.named_parameters())):
            if name.endswith("norm.weight"):
                parameter.fill_(1.0)
            else:
                parameter.copy_(_spread(parameter.shape, seed * 1000 + index, deviation=0.25))
    return model.eval()


def _spread(shape: torch.Size, stream: int, deviation: float) -> torch.Tensor:
    # A 64-bit mixing function over the element's index; the top 24 bits are exact in float32.
    state = torch.arange(shape.numel(), dtype=torch.int64) + stream * 1_000_000_007
    for _ in range(3):
        state = (state ^ (state >> 29)) * 6364136223846793005 + 1442695040888963407
    uniform = ((state >> 39) & 0xFFFFFF).to(torch.float32) / 2**24 - 0.5
    return (uniform * (deviation * math.sqrt(12))).reshape(shape)


@torch.inference_mode()
def plain_loglikelihood(model, tokenizer, prompt: str, continuations: list[str]) -> list[float]:
    """Summed natural-log probabilities, one whole forward pass for each continuation: slow, and easy to believe.

    Follows lm-eval 0.4.13 (api/model.py, _encode_pair): white space at the prompt's end is scored with the
    continuation, whose tokens are those of the whole beyond the prompt's own count. The model reads the prompt's own
    tokens before them, even where the whole text would have merged the last of them with the continuation's first.
    """
    stripped = prompt.rstrip()
    context = tokenizer.encode(stripped)
    sums = []
    for continuation in continuations:
        rest = tokenizer.encode(prompt + continuation)[len(context) :]
        scored = torch.tensor(rest)
        logits = model(torch.tensor([context + rest[:-1]]), logits_to_keep=len(rest)).logits[0].float()
        picked = logits.log_softmax(-1).gather(-1, scored[:, None])
        sums.append(float(picked.sum(dtype=torch.float64)))
    return sums

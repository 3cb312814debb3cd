"""The byte-level BPE of the tiny model, trained on warm-up text.

Each frequent piece of JSON scaffolding in tool lists and calls is one token: processor time is short. Capitals,
digits and quotes never merge with a space, so a value has the same tokens in a sentence and in a call.
"""

import re
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tiny_qwen3.warmup import documents

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

SCAFFOLD = (
    '{"name": "',
    '", "description": "',
    '", "parameters": {"type": "object", "properties": {"',
    '": {"type": "string"}',
    '": {"type": "integer"}',
    '": {"type": "string", "enum": ["',
    '"]}',
    ', "',
    '", "',
    '}, "required": ["',
    '}, "required": []}}',
    '"]}}',
    '"]}}, "required": ["',
    '"]}}, "required": []}}',
    '", "arguments": {"',
    '", "arguments": {}}',
    '": "',
    '": ',
    '"}}',
    "}}",
)

PIECES = r" I(?!\p{L})| ?\p{Ll}+|\p{Lu}\p{Ll}*|\p{N}{1,2}|\n| ?[^\s\p{L}\p{N}]+|\p{L}+|\s"

NUM_DOCUMENTS = 20_000


def train_tokenizer(seed: int, vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer with exactly `vocab_size` tokens, its chat template included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fixed = SPECIAL + MARKS + SCAFFOLD
    splitter = re.compile("|".join(re.escape(text) for text in sorted(fixed, key=len, reverse=True)))
    texts = (
        "".join(text for text, _ in pieces) for pieces in islice(documents(f"vocabulary {seed}", 6), NUM_DOCUMENTS)
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKS) - len(SCAFFOLD),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((part for text in texts for part in splitter.split(text)), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKS + SCAFFOLD])
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {vocab_size}")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=(Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8"),
    )

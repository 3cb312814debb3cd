"""Of which kinds a model's layers are: what a layer keeps of the tokens before the next one.

The names are those of transformers' configurations (`layer_types`). Attention keeps keys and values of every token, so
that a token can be shown any of them. A recurrent layer keeps a state of fixed size, which is that after the last token
alone: `conv` (LFM2) the window of a short convolution, `linear_attention` (Qwen 3.5, Qwen3-Next) such a window and the
state of a recurrence.
"""

from importlib.util import find_spec
from typing import Any

ATTENTION = frozenset({"full_attention", "sliding_attention"})
RECURRENT = frozenset({"conv", "linear_attention"})

_TO_KEEP_ROWS_APART = {"conv": ("causal_conv1d",), "linear_attention": ("causal_conv1d", "fla")}
_INSTALLED_AS = {"causal_conv1d": "causal-conv1d", "fla": "flash-linear-attention"}


def missing_to_pack(model: Any) -> list[str]:
    """What to install before rows can be packed into one: transformers itself cannot keep them apart in such layers."""
    packages = {package for kind in layer_kinds(model) for package in _TO_KEEP_ROWS_APART.get(kind, ())}
    return sorted(_INSTALLED_AS[package] for package in packages if find_spec(package) is None)


def layer_kinds(model: Any) -> list[str]:
    """The kind of each layer of a transformers model; what is no known name is a kind of its own."""
    config = model.config.get_text_config(decoder=True)
    if kinds := getattr(config, "layer_types", None):
        return list(kinds)
    if getattr(model, "_is_stateful", False):
        return ["recurrent"] * config.num_hidden_layers
    kind = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    return [kind] * config.num_hidden_layers


def attention_heads(config: Any) -> list[tuple[int, int, int]]:
    """Return for each layer how many heads ask, how many are asked, and their size, from a text model's settings.

    Gemma 4's layers that see all have larger heads than those that see a window; its configuration says so layer by
    layer, and raises where it is asked for all.
    """
    is_mixed = getattr(config, "is_heterogeneous", False)
    layers = list(config.per_layer_config) if is_mixed else [config] * config.num_hidden_layers
    return [_heads(layer) for layer in layers]


def _heads(config: Any) -> tuple[int, int, int]:
    queries = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // queries
    return queries, getattr(config, "num_key_value_heads", None) or queries, size


def is_hybrid(model: Any) -> bool:
    """Whether a model has recurrent layers whose kind is known, and else nothing but attention."""
    kinds = frozenset(layer_kinds(model))
    return bool(kinds & RECURRENT) and kinds <= RECURRENT | ATTENTION

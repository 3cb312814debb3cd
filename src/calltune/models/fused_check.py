"""Whether fused kernels are right, and faster: each is asked alone, and then all of them in the model.

Alone means one module or function of each kind, with the inputs that it gets in the model, forward and (for training)
backward, against float64. Between it and its outcome are no layers that multiply its rounding, so that a wrong
constant stands out in any precision. In the model the states of a few rows, and their gradients, are held against those
of float32, to see that nothing else was replaced. Allowed is three times what the precision itself costs, as in
`calltune.models.kernel_check`.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch

from calltune.models.device import true_float32
from calltune.models.exactness import in_float32

_TIMES_NOISE = 3.0
_LEAST_NOISE = 1e-5  # of one kernel, in float32
_LEAST_OF_LAYERS = torch.finfo(torch.float32).eps ** 0.5
_ROWS, _LENGTH = 3, 48
_LENGTH_OF_ONE = 1  # of a token that is written after others
_TOKENS_TIMED = 4096
_TIMES = 5


class Laid(Protocol):
    """What was laid over a model, and can be lifted."""

    home: Any
    functions: dict[str, tuple[Any, Any]]

    @property
    def computing(self) -> list[torch.nn.Module]:
        """The modules that compute in another way."""
        ...

    def lifted(self) -> Any:
        """Compute for a moment as before."""
        ...


class _Asked:
    """A module or function of one kind, the inputs that it got in a pass, and how many there are of it."""

    def __init__(self, name: str, call: Any, old: Any) -> None:
        self.name, self.call, self.old = name, call, old
        self.inputs: list[Any] | None = None
        self.count = 0


def fused_fault(inner: Any, laid: Laid, dtype: torch.dtype | None, with_gradients: bool = True) -> str | None:
    """None when kernels that are laid over a model are right as far as the precision allows, else what is not.

    Args:
        inner: a causal language model in evaluation mode, in the precision in which it will be trained or asked.
        dtype: autocast's, None without.
        with_gradients: whether it will be trained; else only what a forward pass gives is compared, also of rows of
            one token.
    """
    for length in (_LENGTH,) if with_gradients else (_LENGTH, _LENGTH_OF_ONE):
        for asked in _asked(inner, laid, dtype, length):
            if fault := _alone(asked, laid, dtype, inner.device, with_gradients):
                return f"{asked.name}: {fault}"
    with laid.lifted():
        with in_float32(inner), true_float32(inner.device):
            truth = _of_rows(inner, None, with_gradients)
        noise = _of_rows(inner, dtype, with_gradients)
    return _compared(truth, noise, _of_rows(inner, dtype, with_gradients), _LEAST_OF_LAYERS)


def is_faster(inner: Any, laid: Laid, dtype: torch.dtype | None) -> tuple[bool, str]:
    """Time all that was replaced, forward and backward, over some thousand tokens; with words on both times."""
    after = before = 0.0
    for asked in _asked(inner, laid, dtype):
        after += asked.count * _seconds(asked.call, asked.inputs or [], dtype, inner.device)
        with laid.lifted():
            before += asked.count * _seconds(asked.call, asked.inputs or [], dtype, inner.device)
    words = f"{1e3 * after:.1f} ms instead of {1e3 * before:.1f} ms for {_TOKENS_TIMED:,} tokens"
    return after < before, words


def _autocast(dtype: torch.dtype | None, device: torch.device) -> Any:
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _ids(inner: Any, length: int = _LENGTH) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(0)
    vocab_size = inner.get_input_embeddings().weight.shape[0]
    return torch.randint(vocab_size, (_ROWS, length), generator=numbers).to(inner.device)


def _asked(inner: Any, laid: Laid, dtype: torch.dtype | None, length: int = _LENGTH) -> list[_Asked]:
    """One module or function of each kind that was replaced, with what it gets in a plain pass."""
    kinds: dict[Any, _Asked] = {}
    for module in laid.computing:
        kind = (type(module), tuple(each.shape for each in module.parameters()))
        kinds.setdefault(kind, _Asked(type(module).__name__, module, module)).count += 1
    functions = {name: _Asked(name, new, old) for name, (new, old) in laid.functions.items()}
    # With gradients, which tell what takes part in the backward pass: not a rotary embedding's angles.
    embedded = inner.get_input_embeddings()(_ids(inner, length)).detach().clone().requires_grad_()
    with laid.lifted(), torch.inference_mode(False), torch.enable_grad(), _autocast(dtype, inner.device):
        hooks = [each.call.register_forward_pre_hook(_keeper(each)) for each in kinds.values()]
        for name, asked in functions.items():
            setattr(laid.home, name, _keeping(asked))
        inner.base_model(inputs_embeds=embedded, use_cache=False)
        for hook in hooks:
            hook.remove()
        for name, asked in functions.items():
            setattr(laid.home, name, asked.old)
    return [each for each in (*kinds.values(), *functions.values()) if each.inputs is not None]


def _keeper(asked: _Asked) -> Callable[[Any, Any], None]:
    def keep(module: Any, inputs: Any) -> None:
        asked.inputs = _kept(inputs)

    return keep


def _keeping(asked: _Asked) -> Callable[..., Any]:
    def call(*inputs: Any, **options: Any) -> Any:
        asked.inputs, asked.count = _kept(inputs), asked.count + 1
        return asked.old(*inputs, **options)

    return call


def _kept(inputs: Sequence[Any]) -> list[Any]:
    return [each.detach().requires_grad_(each.requires_grad) if _is_float(each) else each for each in inputs]


def _alone(
    asked: _Asked, laid: Laid, dtype: torch.dtype | None, device: torch.device, with_gradients: bool
) -> str | None:
    inputs = asked.inputs or []
    with laid.lifted():
        exact = copy.deepcopy(asked.old).double() if isinstance(asked.old, torch.nn.Module) else asked.old
        truth = _outcome(exact, _cast(inputs, torch.float64), with_gradients=with_gradients)
        noise = _outcome(asked.old, inputs, dtype, device, with_gradients)
    return _compared(truth, noise, _outcome(asked.call, inputs, dtype, device, with_gradients), _LEAST_NOISE)


def _cast(inputs: Sequence[Any], dtype: torch.dtype) -> list[Any]:
    return [each.detach().to(dtype).requires_grad_(each.requires_grad) if _is_float(each) else each for each in inputs]


def _is_float(each: Any) -> bool:
    return isinstance(each, torch.Tensor) and each.is_floating_point()


def _outcome(
    call: Any,
    inputs: Sequence[Any],
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    with_gradients: bool = True,
) -> list[torch.Tensor]:
    """Outputs, and gradients of inputs and of weights that are trained, for gradients of outputs that are drawn."""
    leaves = [each.detach().clone().requires_grad_(each.requires_grad) if _is_float(each) else each for each in inputs]
    weights = [each for each in call.parameters() if each.requires_grad] if isinstance(call, torch.nn.Module) else []
    asked = [each for each in leaves if _is_float(each) and each.requires_grad] + weights
    with torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
        with _autocast(dtype, device) if device is not None else nullcontext():
            outputs = call(*leaves)
        outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
        if not with_gradients:
            return [each.detach() for each in outputs]
        gradients = torch.autograd.grad(outputs, asked, _upstream(outputs), allow_unused=True)
    return [each.detach() for each in (*outputs, *gradients) if each is not None]


def _upstream(outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Gradients of outputs, new ones each time, as a kernel may write over them."""
    numbers = torch.Generator().manual_seed(0)
    drawn = [torch.randn(each.shape, generator=numbers) for each in outputs]
    return [each.to(output.device, output.dtype) for each, output in zip(drawn, outputs, strict=True)]


def _of_rows(inner: Any, dtype: torch.dtype | None, with_gradients: bool) -> list[torch.Tensor]:
    """The last states of some rows; with gradients also those of their embeddings and of the norms' weights."""
    embedded = inner.get_input_embeddings()(_ids(inner)).detach().clone().requires_grad_()
    vectors = [each for each in inner.base_model.parameters() if each.ndim == 1 and each.requires_grad]
    with torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
        with _autocast(dtype, inner.device):
            states = inner.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        if not with_gradients:
            return [states.detach()]
        gradients = torch.autograd.grad(states, [embedded, *vectors], _upstream([states]), allow_unused=True)
    return [each.detach() for each in (states, *gradients) if each is not None]


def _compared(
    truth: Sequence[torch.Tensor], noise: Sequence[torch.Tensor], found: Sequence[torch.Tensor], least: float
) -> str | None:
    for right, rough, ours in zip(truth, noise, found, strict=True):
        allowed, error = max(least, _TIMES_NOISE * _worst(rough, right)), _worst(ours, right)
        if not error <= allowed:
            return f"its outcome is off by {error:.1g}, where the precision explains {allowed:.1g}"
    return None


def _worst(found: torch.Tensor, right: torch.Tensor) -> float:
    """The error of the worst token, relative to its own numbers, or to a usual token's where it has next to none."""
    right, found = right.double(), found.double()
    usual = right.pow(2).sum(-1).mean().sqrt()
    return float(((found - right).norm(dim=-1) / right.norm(dim=-1).clamp(min=float(usual))).max())


@contextmanager
def _waiting(device: torch.device) -> Iterator[list[float]]:
    spent: list[float] = []
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    yield spent
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    spent.append(time.perf_counter() - begun)


def _seconds(call: Any, inputs: Sequence[Any], dtype: torch.dtype | None, device: torch.device) -> float:
    """The least of some times; the first call, in which a compiler compiles, does not count."""
    times = -(-_TOKENS_TIMED // (_ROWS * _LENGTH))
    many = [
        each.detach().repeat(times, *[1] * (each.ndim - 1)).requires_grad_(each.requires_grad)
        if _is_float(each)
        else each
        for each in inputs
    ]
    _outcome(call, many, dtype, device)
    least = float("inf")
    for _ in range(_TIMES):
        with _waiting(device) as spent:
            _outcome(call, many, dtype, device)
        least = min(least, *spent, least)
    return least

"""Tuning methods: what a stage trains of a model, how the model is loaded for it, and how adapters become weights.

    full      every weight
    spectrum  the weight matrices with the highest signal-to-noise ratio (`calltune.training.spectrum`)
    lora      low-rank adapters beside every linear layer, through PEFT
    qlora     the same beside 4-bit weights (NF4, double quantisation, bf16 arithmetic), through bitsandbytes

A plan is made, and every mistake told, on a model without weights, before anything is loaded. DPO takes the model as it
was before as its reference: TRL loads a second copy, or with adapters turns them off for a moment.
"""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig, PreTrainedModel

from calltune.config.training import Tuning
from calltune.errors import ConfigError
from calltune.files.hashes import file_sha256
from calltune.models.load import fastest_attention, load_model, load_skeleton
from calltune.runtime.processes import processes
from calltune.training.finite import require_finite_weights
from calltune.training.settings import StageSettings
from calltune.training.spectrum import highest, write_unfrozen
from calltune.training.spectrum_scan import scan

UNFROZEN = "unfrozen_parameters.yaml"


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """Which weights of a model a stage trains.

    `always` and `chosen` are Spectrum's patterns, one by one and by kind of matrix; both are empty for other methods.
    `skeleton` is the model as it will be trained, on torch's meta device: parameters have shapes and `requires_grad`.
    """

    always: tuple[str, ...]
    chosen: dict[str, list[str]]
    skeleton: Any

    @property
    def patterns(self) -> list[str]:
        """All of Spectrum's patterns."""
        return [*self.always, *(module for modules in self.chosen.values() for module in modules)]


def tuning_inputs(tuning: Tuning, lora: Mapping[str, Any]) -> list[Any]:
    """What decides which weights a stage trains, for its manifest: a changed Spectrum file counts by its content.

    Args:
        lora: the table `[lora]`, which counts where adapters are trained.

    Raises:
        ConfigError: that file cannot be read.
    """
    file = Path(tuning.spectrum_file) if tuning.spectrum_file else None
    if file and not file.is_file():
        raise ConfigError(f"tuning.spectrum_file: {file}: no such file")
    own = {key: getattr(tuning, key) for key in Tuning.model_fields}
    adapters = lora if tuning.has_adapters else {}
    return [own, adapters, file_sha256(file) if file else None]


def plan_tuning(settings: StageSettings, model: str) -> TuningPlan:
    """Find what a stage will train of a model.

    Spectrum ranks the run's base model for both stages, so that both train the same matrices.

    Raises:
        ConfigError: a pattern or a target module that the model does not have.
        ModelError: the model cannot be had, or Spectrum cannot rank it.
    """
    skeleton: Any = load_skeleton(model)
    always, chosen = _spectrum(settings, skeleton) if settings.tuning.method == "spectrum" else ((), {})
    plan = TuningPlan(always, chosen, _adapted(skeleton, settings.lora, model) if settings.lora else skeleton)
    if plan.patterns:
        unfreeze(plan.skeleton, plan.patterns)
    return plan


def _spectrum(settings: StageSettings, skeleton: PreTrainedModel) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    base, tuning, always = settings.base_model, settings.tuning, list[str]()
    ends = {skeleton.get_output_embeddings: tuning.train_head, skeleton.get_input_embeddings: tuning.train_embeddings}
    for module, is_trained in ends.items():
        if is_trained:
            always.append(f"^{_name_of(skeleton, module().weight)}$")
    if settings.spectrum_patterns:
        return (*always, *settings.spectrum_patterns), {}
    if processes().count > 1 and processes().local_rank == 0:
        scan(base)
    # The first process of a machine computes what the others then find in the cache.
    processes().wait()
    return tuple(always), highest(scan(base), tuning.spectrum_percent or 0)


def _name_of(model: PreTrainedModel, weight: torch.Tensor) -> str:
    return next(name for name, parameter in model.named_parameters() if parameter is weight)


def unfreeze(model: torch.nn.Module, patterns: Sequence[str]) -> None:
    """Train the parameters whose name begins with a pattern, and no other; a tied one has all its names.

    Raises:
        ConfigError: a pattern that no name begins with.
    """
    parameters = list(model.named_parameters(remove_duplicate=False))
    for _, parameter in parameters:
        parameter.requires_grad_(False)
    for pattern in patterns:
        matching = [parameter for name, parameter in parameters if re.match(pattern, name)]
        if not matching:
            raise ConfigError(f"tuning: '{pattern}' matches no parameter of the model; it has {_some(parameters)}")
        for parameter in matching:
            parameter.requires_grad_(True)


def _adapted(skeleton: PreTrainedModel, peft: LoraConfig, model: str) -> PeftModel:
    linear = [(name, each) for name, each in skeleton.named_modules() if isinstance(each, torch.nn.Linear)]
    targets = peft.target_modules if isinstance(peft.target_modules, set | list) else []
    for target in sorted(targets):
        if not any(name == target or name.endswith(f".{target}") for name, _ in skeleton.named_modules()):
            raise ConfigError(f"[lora] target_modules: '{target}' is no module of {model}; it has {_some(linear)}")
    try:
        return get_peft_model(skeleton, copy.deepcopy(peft))  # type: ignore[return-value]
    except ValueError as error:
        raise ConfigError(f"[lora]: {str(error).splitlines()[0]} {model} has {_some(linear)}") from None


def _some(named: Iterable[tuple[str, Any]]) -> str:
    """A few names, of as many layers: the first one's and the last."""
    names = [name for name, _ in named]
    return ", ".join(dict.fromkeys([*names[:3], names[-1]]))


def load_to_train(settings: StageSettings, plan: TuningPlan, model: str) -> PreTrainedModel:
    """The model of a plan, with its weights; TRL's trainer adds the adapters.

    Weights that are trained are float32, so that small updates are not rounded away; those beside adapters are bf16
    where matrices are multiplied in bf16 anyway. `model_init_kwargs` has the last word.

    Raises:
        ModelError: it cannot be loaded.
        NotFiniteError: one of its weights is no number.
    """
    bf16 = bool(settings.arguments.bf16)
    keys: dict[str, Any] = {
        "dtype": torch.bfloat16 if settings.lora and bf16 else torch.float32,
        "attn_implementation": fastest_attention(plan.skeleton, bf16),
        **settings.model_keys,
    }
    if settings.tuning.method == "qlora":
        keys["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    loaded = load_model(model, **keys)
    require_finite_weights(loaded, f"model '{model}'")
    if plan.patterns:
        unfreeze(loaded, plan.patterns)
    return loaded


def weights_told(settings: StageSettings, model: Any) -> str:
    """Say in which precision a model's weights are, for the user: `bf16 weights with float32 masters`."""
    if settings.tuning.method == "qlora":
        return "4-bit weights with adapters"
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.").replace("bfloat16", "bf16")
    if settings.has_masters:
        return "bf16 weights with float32 masters"
    with_adapters = " with float32 adapters" if settings.lora else ""
    why = f" (no masters: {settings.why_no_masters})" if settings.why_no_masters and not settings.lora else ""
    return f"{dtype} weights{with_adapters}{why}"


def write_plan(plan: TuningPlan, folder: Path) -> None:
    """Keep Spectrum's choice beside the model, in the layout that `spectrum_file` and axolotl read."""
    if plan.patterns and processes().rank == 0:
        write_unfrozen(folder / UNFROZEN, plan.always, plan.chosen)


def count_parameters(model: Any) -> tuple[int, int]:
    """How many parameters are trained, and how many there are; tied ones once, four-bit and sharded ones in full."""
    trained = everything = 0
    for parameter in model.parameters():
        # ZeRO-3 leaves an empty tensor that knows its size; bitsandbytes packs two numbers into a byte.
        size = getattr(parameter, "ds_numel", parameter.numel())
        if type(parameter).__name__ == "Params4bit":
            size *= 2 * parameter.element_size()
        everything += size
        trained += size * parameter.requires_grad
    return trained, everything

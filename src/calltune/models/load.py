"""Loading a tokenizer or a model from the Hub or a local folder, or saying in one line why it cannot be.

A model is what its folder says: weights come from safetensors, none of them are made up or left out, and code that a
folder brings along is never run, nor is anybody asked whether it may.
"""

import functools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from calltune.calling.chat import Chat
from calltune.calling.shipped import SHIPPED, shipped_template
from calltune.errors import ModelError
from calltune.models.device import give_memory_back, leave_out_planned_attention
from calltune.models.folder import check_folder, check_loaded, check_shapes, one_line, require_folder_or_hub_id
from calltune.runtime.terminal import say


class _HubSilence(logging.Filter):
    """One line for the user instead of huggingface_hub's two for each of its tries."""

    told = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown: those of a Hub that does not answer are not."""
        text = record.getMessage()
        if not any(words in text for words in ("thrown while requesting", "before retry", "Retrying in")):
            return True
        if not self.told:
            self.told = True
            say("the Hugging Face Hub does not answer; it is asked again for up to a minute")
        return False


logging.getLogger("huggingface_hub.utils._http").addFilter(_HubSilence())
# A table of missing weights, which are told in one line.
logging.getLogger("transformers.modeling_utils").addFilter(lambda record: "LOAD REPORT" not in record.getMessage())


def load_tokenizer(model: str, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a Hub id or local folder.

    Args:
        chat_template: a Jinja file that takes the place of the model's own template, or the name of a template that
            comes with calltune.

    Raises:
        ModelError: there is none, or the Hub does not give it, or the template cannot be read.
    """
    check_folder(require_folder_or_hub_id(model))
    with one_line_for(model, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        # Settings of a wrong type are read without a word, and fail where a text is first made into tokens.
        tokenizer.decode(tokenizer("a text").input_ids)
    _tell_unused_code(model, tokenizer.init_kwargs.get("auto_map"))
    # From a folder without tokenizer files, transformers 5 makes an empty tokenizer of the model's kind.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"model '{model}': its folder holds no tokenizer")
    # Nothing is cut here, and the backend says in calltune's words when a model's length is exceeded.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    if chat_template in SHIPPED:
        tokenizer.chat_template, end = shipped_template(tokenizer, chat_template, model)
        if tokenizer.eos_token != end:
            _say_once(f"model '{model}': {end!r}, which ends its answers, becomes its end-of-sequence token")
            tokenizer.eos_token = end
    elif chat_template is not None:
        try:
            tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ModelError(f"chat_template '{chat_template}': {reason}") from None
    return tokenizer


def load_model(model: str, dtype: torch.dtype, **others: Any) -> PreTrainedModel:
    """The causal language model of a Hub id or local folder, in a precision; on the CPU unless it is quantised.

    Args:
        others: what else `from_pretrained` takes, such as `attn_implementation`.

    Raises:
        ModelError: there is none, the Hub does not give it, it needs code of its own, its weights are pickled, or they
            are not whole: keys are missing, unexpected, or of another shape.
    """
    if Path(require_folder_or_hub_id(model)).is_dir():
        # Sizes that are out of all bounds are told before transformers fills them with numbers.
        load_skeleton(model)
    # Whoever trains, asks or compares a model loads it here first, and often a model before it was let go of.
    give_memory_back()
    leave_out_planned_attention()
    # A bar for reading weights from the disk says nothing; the Hub's own download bars stay.
    transformers.utils.logging.disable_progress_bar()
    with one_line_for(model, "model"):
        found: Any = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            # They come back by their names, and are refused below.
            ignore_mismatched_sizes=True,
            **others,
        )
    loaded, info = found
    check_loaded(model, info)
    return loaded


def check_tokens(model: PreTrainedModel, chat: Chat, tokens: Iterable[Any]) -> None:
    """Compare tokens that a tokenizer wrote with the model's embeddings, of which there may be fewer.

    That happens where tokens were added to a tokenizer alone. A tokenizer may know more than the model as long as
    nobody writes them, as those for images are in models of text.

    Args:
        model: with or without weights.
        tokens: their ids; a None stands for a special token that the tokenizer lacks.

    Raises:
        ModelError: one of them has no embedding.
    """
    embeddings: Any = model.get_input_embeddings()
    known = embeddings.weight.shape[0]
    highest = max((token for token in tokens if token is not None), default=0)
    if highest >= known:
        text = chat.tokenizer.convert_ids_to_tokens(highest)
        raise ModelError(
            f"model '{chat.name}': its tokenizer writes {text!r} as token {highest:,}, and its weights know {known:,}"
        )


def load_skeleton(model: str) -> PreTrainedModel:
    """A model's modules and the shapes of its parameters, without any weights (on torch's meta device).

    Raises:
        ModelError: there is no configuration, the Hub does not give it, it needs code of its own, or a folder's weights
            are not those of the model that it describes.
    """
    shapes = check_folder(require_folder_or_hub_id(model))
    configuration = model_config(model)
    with one_line_for(model, "model"), torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(configuration, trust_remote_code=False)
    if shapes:
        check_shapes(model, skeleton, shapes)
    return skeleton


def model_config(model: str) -> PreTrainedConfig:
    """The configuration of a Hub id or local folder.

    Raises:
        ModelError: there is none, a field of it is wrong, or it needs code of its own.
    """
    require_folder_or_hub_id(model)
    with one_line_for(model, "model"):
        configuration = AutoConfig.from_pretrained(model, trust_remote_code=False)
    attention = getattr(configuration, "_attn_implementation", None)
    if isinstance(attention, str) and "/" in attention:
        raise ModelError(
            f"model '{model}': its config.json asks for code of the Hub, '{attention}', which is never run"
        )
    _tell_unused_code(model, getattr(configuration, "auto_map", None))
    return configuration


def stored_dtype(model: str) -> torch.dtype | None:
    """The precision in which a model is stored, or None where its configuration does not say.

    Raises:
        ModelError: as `model_config`.
    """
    dtype = model_config(model).dtype
    return dtype if isinstance(dtype, torch.dtype) else None


def generation_config(model: str) -> GenerationConfig:
    """The model's own settings of generation, or what its configuration says of it.

    Raises:
        ModelError: as `model_config`, or the settings cannot be read.
    """
    with one_line_for(model, "generation settings"):
        try:
            return GenerationConfig.from_pretrained(model)
        except OSError:
            return GenerationConfig.from_model_config(model_config(model))


@contextmanager
def one_line_for(model: str, what: str) -> Iterator[None]:
    """Around a call of transformers or PEFT that reads a folder: whatever it raises is one line about the folder.

    Which of its errors a wrong byte leads to, nobody can list: of `config.json` alone there are a dozen.

    Raises:
        ModelError: anything was raised.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise _not_loaded(model, what, error) from error


def fastest_attention(skeleton: PreTrainedModel, bf16: bool) -> str:
    """The attention to train with: FlashAttention where its kernels are installed for this device, else SDPA."""
    if torch.cuda.is_available() and bf16 and skeleton._supports_flash_attn:
        if is_flash_attn_3_available() and torch.cuda.get_device_capability() == (9, 0):
            return "flash_attention_3"
        if is_flash_attn_2_available() and torch.cuda.get_device_capability() >= (8, 0):
            return "flash_attention_2"
    return "sdpa" if skeleton._supports_sdpa else "eager"


def _not_loaded(model: str, what: str, error: Exception) -> ModelError:
    if "trust_remote_code" in str(error):
        return ModelError(f"model '{model}': its {what} needs code that comes with it, and such code is never run")
    if Path(model).is_dir():
        return ModelError(f"model '{model}': its folder holds no {what} that can be loaded: {one_line(error)}")
    # A Hub that refuses says so at length; what is wrong with a model that it gave is worth a word.
    reason = _refusal(model, error)
    if reason is None and not (isinstance(error, OSError) and "safetensors" not in str(error)):
        reason = one_line(error)
    reason = "" if reason is None else f": {reason}"
    return ModelError(f"model '{model}': not a local folder, and the Hugging Face Hub did not give its {what}{reason}")


def _refusal(model: str, error: BaseException) -> str | None:
    """Why the Hub did not give a file, by the first of its own errors from which this one came; None without one."""
    away = "it is not asked, since HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "it does not answer"
    # A gated model is one that is not found, and a file that is not in the cache one that is not there: in this order.
    reasons: dict[type[BaseException], str] = {
        GatedRepoError: f"it is gated; accept its terms at https://huggingface.co/{model}, and log in (hf auth login)",
        RepositoryNotFoundError: "there is no such model, or it is private and needs a login (hf auth login)",
        HFValidationError: "no model can have that name",
        LocalEntryNotFoundError: f"{away}, and the cache does not hold the model",
        EntryNotFoundError: "it has no such file",
    }
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    for kind, reason in reasons.items():
        if any(isinstance(each, kind) for each in chain):
            return reason
    return None


@functools.cache
def _say_once(text: str) -> None:
    say(text)


def _tell_unused_code(model: str, auto_map: object) -> None:
    """A folder may bring its own code for what transformers has code for, too; which of them runs is said once."""
    if auto_map:
        _say_once(f"model '{model}': brings code of its own, which is not run; transformers' own is used")

"""Loading a tokenizer or a model from the Hub or a local folder, or saying in one line why it cannot be."""

import logging
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from calltune.errors import ModelError
from calltune.runtime.terminal import say

_LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


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


def load_tokenizer(model: str, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a Hub id or local folder.

    Args:
        chat_template: a Jinja file that takes the place of the model's own template.

    Raises:
        ModelError: there is none, or the Hub does not give it, or the template cannot be read.
    """
    _require_folder_or_hub_id(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except _LOAD_ERRORS as error:
        raise _not_loaded(model, "tokenizer", error) from error
    # From a folder without tokenizer files, transformers 5 makes an empty tokenizer of the model's kind.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(f"model '{model}': its folder holds no tokenizer")
    # Nothing is cut here, and the backend says in calltune's words when a model's length is exceeded.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    if chat_template is not None:
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
        ModelError: there is none, or the Hub does not give it.
    """
    _require_folder_or_hub_id(model)
    # A bar for reading weights from the disk says nothing; the Hub's own download bars stay.
    transformers.utils.logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **others)
    except _LOAD_ERRORS as error:
        raise _not_loaded(model, "model", error) from error


def load_skeleton(model: str) -> PreTrainedModel:
    """A model's modules and the shapes of its parameters, without any weights (on torch's meta device).

    Raises:
        ModelError: there is no configuration, or the Hub does not give it.
    """
    _require_folder_or_hub_id(model)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    except _LOAD_ERRORS as error:
        raise _not_loaded(model, "model", error) from error


def fastest_attention(skeleton: PreTrainedModel, bf16: bool) -> str:
    """The attention to train with: FlashAttention where its kernels are installed for this device, else SDPA."""
    if torch.cuda.is_available() and bf16 and skeleton._supports_flash_attn:
        if is_flash_attn_3_available() and torch.cuda.get_device_capability() == (9, 0):
            return "flash_attention_3"
        if is_flash_attn_2_available() and torch.cuda.get_device_capability() >= (8, 0):
            return "flash_attention_2"
    return "sdpa" if skeleton._supports_sdpa else "eager"


def _require_folder_or_hub_id(model: str) -> None:
    path = Path(model)
    if path.is_file():
        raise ModelError(f"model '{model}': is a file, a folder was expected")
    if not path.is_dir() and (path.is_absolute() or model.startswith(".") or model.count("/") > 1):
        raise ModelError(f"model '{model}': no such folder")


def _not_loaded(model: str, what: str, error: Exception) -> ModelError:
    if Path(model).is_dir():
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return ModelError(f"model '{model}': its folder holds no {what} that can be loaded: {reason}")
    return ModelError(f"model '{model}': not a local folder, and the Hugging Face Hub did not give its {what}")

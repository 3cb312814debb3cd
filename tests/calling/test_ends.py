"""Answers that end with another token than texts do, or with none: what is trained, and where generation stops."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from calltune.calling.chat import Chat
from calltune.calling.template_proof import Proof, Written, prove_template
from calltune.models.backends.tokens import completion, end_ids
from calltune.models.load import load_model
from calltune.training.recipe import trainer_rows, whole_texts
from calltune.training.trainer import to_dataset
from calltune.types import Example, Message, Sample, Tool, ToolCall

HERMES = Path(__file__).parents[1] / "material" / "templates" / "hermes.jinja"
TOOL = Tool("find_city", "Find a city.", {"type": "object", "properties": {"name": {"type": "string"}}})
QUESTION = Message("user", "Where is Ulm?")
CALL = Message("assistant", "", (ToolCall("find_city", {"name": "Ulm"}),))
TEXT = Message("assistant", "By the Danube.")
CLOSED = "{%- endfor %}\n        {{- '<|im_end|>"
KINDS = {
    "alike": (),
    "another after a call": ((CLOSED, CLOSED.replace("<|im_end|>", "<|call|>")),),
    "another than the tokenizer's": (("<|im_end|>", "<|turn|>"),),
    "none": (("<|im_end|>", ""),),
}
ENDS = {
    "alike": ("<|im_end|>",),
    "another after a call": ("<|im_end|>", "<|call|>"),
    "another than the tokenizer's": ("<|im_end|>", "<|turn|>"),
    "none": ("<|im_end|>",),
}
LAST = {
    "alike": ("<|im_end|>", "<|im_end|>"),
    "another after a call": ("<|im_end|>", "<|call|>"),
    "another than the tokenizer's": ("<|turn|>", "<|turn|>"),
    "none": ("<|im_end|>", "<|im_end|>"),
}


def chat_of(kind: str, tiny_model: Path) -> Chat:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|call|>", "<|turn|>", "</tool_call>"]})
    template = HERMES.read_text(encoding="utf-8")
    for old, new in KINDS[kind]:
        assert old in template
        template = template.replace(old, new)
    tokenizer.chat_template = template
    return Chat(tokenizer, "toy")


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_ends_are_found_and_told(kind: str, tiny_model: Path) -> None:
    chat = chat_of(kind, tiny_model)
    assert chat.ends == ENDS[kind]
    assert chat.adds_end == (kind == "none")
    notes = prove_template(chat)
    assert len(notes) == (kind != "alike")
    assert all("end-of-sequence token '<|im_end|>'" in note for note in notes)


def test_each_kind_of_answer_is_taught_its_end(kind: str, tiny_model: Path) -> None:
    chat = chat_of(kind, tiny_model)
    for answer, end in zip((TEXT, CALL), LAST[kind], strict=True):
        written = Proof(chat).row(Example("1", "s", (QUESTION, answer), (TOOL,), "direct"))
        assert isinstance(written, Written)
        ids = chat.tokenizer(written.prompt + written.answers[0]).input_ids
        assert chat.tokenizer.decode(ids[-1:]) == end
        assert chat.parse(written.answers[0], [TOOL]).message == answer
        # Whichever of them a model writes, its answer stops there.
        stopped = completion(
            chat,
            end_ids(GenerationConfig(), chat),
            Sample("1", "b", (QUESTION,), (TOOL,), None),
            [*ids[written.num_prompt_tokens :], *ids[:3]],
        )
        assert (stopped.status, stopped.message) == ("ok", answer)


@pytest.mark.parametrize("keys", [("completion",), ("chosen", "rejected")])
def test_trl_trains_on_the_very_tokens(kind: str, keys: tuple[str, ...], tiny_model: Path, tmp_path: Path) -> None:
    chat = chat_of(kind, tiny_model)
    messages = (CALL, TEXT)[: len(keys)]
    prompt, answers = chat.prompt_and_answers([QUESTION], [TOOL], messages)
    row = {"prompt": prompt, **dict(zip(keys, answers, strict=True))}
    config, trainer = (SFTConfig, SFTTrainer) if keys == ("completion",) else (DPOConfig, DPOTrainer)
    model = load_model(str(tiny_model), torch.float32)
    model.resize_token_embeddings(len(chat.tokenizer))
    arguments: Any = config(output_dir=str(tmp_path), report_to=[], bf16=False, use_cpu=True, max_length=None)
    made: Any = trainer(
        model=model,
        args=arguments,
        train_dataset=to_dataset(trainer_rows(chat, [row])),
        processing_class=chat.tokenizer,
    )
    (trained,) = made.train_dataset
    wholes = [chat.tokenizer(text).input_ids for text in whole_texts(row, chat.ends)]
    num_prompt = len(chat.tokenizer(prompt).input_ids)
    if keys == ("completion",):
        assert trained["input_ids"] == wholes[0]
        assert [label for label in trained["labels"] if label != -100] == wholes[0][num_prompt:]
    else:
        assert trained["prompt_ids"] == wholes[0][:num_prompt]
        assert [trained["chosen_ids"], trained["rejected_ids"]] == [ids[num_prompt:] for ids in wholes]


def test_a_begin_token_of_the_tokenizer_stays(tiny_model: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    chat = chat_of("another after a call", tiny_model)
    tokenizer: Any = chat.tokenizer
    tokenizer.bos_token = "<|endoftext|>"
    begin = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begin)]
    )
    chat = Chat(tokenizer, "toy")
    prompt, (answer,) = chat.prompt_and_answers([QUESTION], [TOOL], [CALL])
    (row,) = trainer_rows(chat, [{"prompt": prompt, "completion": answer}])
    ids = tokenizer.apply_chat_template(
        row["prompt"] + row["completion"], tokenize=True, return_dict=True, **row["chat_template_kwargs"]
    )["input_ids"]
    assert ids == tokenizer(prompt + answer).input_ids

"""The rows, the model and the tokenizer of which TRL's losses are recorded (`losses_trl.py`) and ours are computed."""

import json

import torch
from tiny_models import _spread, tiny_qwen3, toy_tokenizer

WEATHER = {
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}, "days": {"type": "integer"}}},
}
ALARM = {
    "name": "set_alarm",
    "description": "Sets an alarm.",
    "parameters": {"type": "object", "properties": {"time": {"type": "string"}}, "required": ["time"]},
}


def user(text):
    return {"role": "user", "content": text}


def says(text, *calls):
    calls = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in calls]
    return {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}


# Prompt, tools, a right answer, a wrong one: each behaviour, a conversation of turns, no tools, other tools' keys.
ROWS = [
    ([user("Weather in Oslo for two days?")], [WEATHER, ALARM], says("", ("weather", {"town": "Oslo", "days": 2})),
     says("It is sunny in Oslo.")),
    ([user("Wake me.")], [ALARM], says("At what time?"), says("", ("set_alarm", {"time": "07:00"}))),
    ([user("Order a pizza, please.")], [ALARM, WEATHER], says("I cannot order food with what I have."),
     says("", ("order", {"food": "pizza"}))),
    ([user("What is two and two?")], [], says("Four."), says("I cannot calculate.\nSorry.")),
    ([{"role": "system", "content": "Be brief."}, user("Hello"), says("Hi."), user("Alarm at six and the weather?")],
     [WEATHER, ALARM], says("", ("set_alarm", {"time": "06:00"}), ("weather", {"town": ""})), says("Done.")),
    ([user("Thanks, that is all.")], [WEATHER], says("You are welcome."), says("", ("weather", {"town": "all"}))),
]  # fmt: skip

LOSSES = {
    "sigmoid": {"loss_type": ["sigmoid"]},
    "ipo": {"loss_type": ["ipo"]},
    "hinge": {"loss_type": ["hinge"]},
    "mpo": {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
}


def openai_tools(tools):
    """As JSON text, in which no Arrow schema can merge keys."""
    return json.dumps([{"type": "function", "function": tool} for tool in tools])


def sft_rows():
    """As TRL takes conversations."""
    return [{"prompt": prompt, "completion": [good], "tools": openai_tools(tools)} for prompt, tools, good, _ in ROWS]


def dpo_rows():
    return [
        {"prompt": prompt, "chosen": [good], "rejected": [bad], "tools": openai_tools(tools)}
        for prompt, tools, good, bad in ROWS
    ]


def tokenizer():
    """The toy tokenizer, a turn's end being its end of sequence, as in Qwen's and Llama's chat models."""
    made = toy_tokenizer()
    made.eos_token, made.pad_token = "<|im_end|>", "<|endoftext|>"
    return made


def save_model(folder, made):
    model = tiny_qwen3(len(made))
    model.config.eos_token_id, model.config.pad_token_id = made.eos_token_id, made.pad_token_id
    model.save_pretrained(str(folder))
    made.save_pretrained(str(folder))


@torch.no_grad()
def move_away(model):
    """Some steps' worth of change, always the same: a policy that still is its reference has a loss of log 2."""
    for index, (_, parameter) in enumerate(sorted(model.named_parameters())):
        parameter.add_(_spread(parameter.shape, 50_000 + index, deviation=0.01))


def loss_and_gradient(trainer):
    """Of the one batch that holds all rows, in float32: the loss and the norm of its whole gradient."""
    (batch,) = trainer.get_train_dataloader()
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    squares = [(p.grad.double() ** 2).sum() for p in trainer.model.parameters() if p.grad is not None]
    labels = (
        batch["labels"]
        if "labels" in batch
        else batch["completion_mask"].masked_fill(batch["completion_mask"] == 0, -100)
    )
    return {
        "loss": float(loss.detach()),
        "gradient_norm": float(torch.stack(squares).sum().sqrt()),
        "num_tokens": int(batch["attention_mask"].sum()),
        "num_labels": int((labels != -100).sum()),
    }

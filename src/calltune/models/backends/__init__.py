"""What runs a model.

Each module of this family has a class `Backend(model, tokens_per_batch, chat_template)`, which also takes `settings` if
the module has `Settings`, a pydantic model of its keys in `[evaluate.backend_options]`; `chat_template` is a Jinja file
that takes the place of the model's own template, or None. It has:

- `chat`, the model's `calltune.calling.chat.Chat`, or None where a server writes the prompts;
- `loglikelihood(requests) -> list[list[float]]`: per request, per continuation, the summed natural log-probability;
- `answer(samples, max_new_tokens) -> list[Completion]`: greedy answers, in the order of the samples;
- `sample(samples, max_new_tokens, sampling) -> list[list[Completion]]`: answers drawn at random as a
  `calltune.types.Sampling` says; they depend on its seed and the sample's id and not on what else is asked, as far as
  arithmetic allows.
"""

BACKENDS = {
    "hf": "calltune.models.backends.hf",
    "openai": "calltune.models.backends.openai",
    "vllm": "calltune.models.backends.vllm",
}

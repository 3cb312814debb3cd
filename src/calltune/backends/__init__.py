"""What runs a model.

Each module of this family has a class `Backend(model, tokens_per_batch)` with:

- `chat`, the model's `calltune.chat.Chat`;
- `loglikelihood(requests) -> list[list[float]]`: per request, per continuation, the summed natural log-probability;
- `answer(samples, max_new_tokens) -> list[Completion]`: greedy answers, in the order of the samples.
"""

BACKENDS = {"hf": "calltune.backends.hf"}

"""Where training rows come from.

Each module of this family has:

- `Settings`, a pydantic model of its own keys in `[[data.sources]]`;
- `read(settings) -> Iterator[Example | Preference | Rejected]`: every row becomes nouns, or a `Rejected` that says
  why not; a file that is broken as a whole raises `DataError`;
- `fingerprint(settings) -> str`, which changes when what `read` gives may change;
- if it holds questions back for measuring, `questions(settings) -> Iterator[dict]` in When2Call's test layout.
"""

SOURCES = {
    "chat_jsonl": "calltune.data.sources.chat_jsonl",
    "openai_traces": "calltune.data.sources.openai_traces",
    "sharegpt": "calltune.data.sources.sharegpt",
    "synthetic": "calltune.data.sources.synthetic.source",
    "when2call": "calltune.data.sources.when2call",
    "xlam": "calltune.data.sources.xlam",
}

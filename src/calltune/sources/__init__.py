"""Where training rows come from.

Each module of this family has:

- `Settings`, a pydantic model of its own keys in `[[data.sources]]`;
- `read(settings) -> Iterator[Example | Preference]`, which parses every row into nouns or raises `DataError`;
- `fingerprint(settings) -> str`, which changes when what `read` gives may change;
- if it holds questions back for measuring, `questions(settings) -> Iterator[dict]` in When2Call's test layout.
"""

SOURCES = {
    "synthetic": "calltune.sources.synthetic.source",
    "when2call": "calltune.sources.when2call",
}

"""How a sentence names tools and parameters; the names are read off their descriptions and names."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from calltune.data.derive.vocabulary import imperative, tokens
from calltune.types import Tool

_SENTENCE_END = re.compile(r"(?<=[a-z0-9)])[.;:!?](?:\s|$)|\n|\s[-\N{EM DASH}\N{EN DASH}]\s")
_ASIDE = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\})")
_PREAMBLE = re.compile(
    r"^(?:(?:this|the) (?:tool|function|api|endpoint|method|service)\s+(?:will |can |lets you |allows you to |is used "
    r"to )?|(?:use (?:this|it) to|used to|helper function (?:to|that)|a (?:tool|function) (?:to|that|for))\s+)",
    re.IGNORECASE,
)
_USERS = re.compile(r"\b(?:the |a )?(?:user|customer|caller)'s\b", re.IGNORECASE)
_USER = re.compile(
    r"\b(?:the|a) (?:user|customer|caller)\b(?=$|[,.;]| (?:on|for|in|at|by|with|about|and|to)\b)", re.IGNORECASE
)
# Words by which a schema points at its own parameters; a speaker leaves them out.
_POINTING = re.compile(
    r"\b(?:(an?) )?(?:specified|provided|given|desired|specific|chosen|selected) (?=(\w))", re.IGNORECASE
)
_TAIL = re.compile(
    r"\s+(?:(?:if|when|whenever) (?:the|a) (?:user|customer|caller)|using (?:the|a|an|its)|via (?:the|a)|"
    r"based on (?:(?:the )?(?:provided|specified|given)|various|optional))\b"
    r".*$",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"\s*(?:,|\b(?:in (?:the )?(?:form|format)|formatted|such as|for example|e\.g|i\.e|defaults?|must|which is|like|"
    r"specified as|separated|from which|for which|to be used|that will)\b).*$",
    re.IGNORECASE,
)
_OPENS_BADLY = re.compile(
    r"^(?:whether|if|specif\w*|indicat\w*|filter|for|to|in|on|by|of|when|what|which|who|where|why|how|is|are|can|should|optional|"
    r"required|type|input|value|string|boolean|an? |any |all |find|include|set|only)\b",
    re.IGNORECASE,
)
_FIRST_VERBS = {
    form: verb
    for verb, third in (("have", "has"), ("hand", "hands"), ("escalate", "escalates"))
    for form in (verb, third)
}
_CLAUSES = frozenset({"whether", "what", "how", "which", "who", "when", "where", "why"})
_NO_ARTICLE = frozenset(
    {
        "on",
        "off",
        "in",
        "out",
        "up",
        "down",
        "to",
        "for",
        "by",
        "with",
        "from",
        "at",
        "a",
        "an",
        "the",
        "my",
        "all",
        "any",
    }
)
_ACRONYMS = frozenset({"id", "url", "isbn", "ip", "zip", "sku", "iban", "pdf", "vat", "pin", "sim", "eta", "api"})
_VAGUE = frozenset({"query", "q", "text", "input", "value", "string", "search", "keyword", "keywords", "term", "data"})
_LONGEST_ABILITY, _LONGEST_THING = 16, 9


def ability(tool: Tool) -> str:
    """Return what the tool does, as it follows "to": `get the weather for a city`.

    The text is empty when the tool's texts hold no known verb.
    """
    words = _TAIL.sub("", _PREAMBLE.sub("", _first_sentence(tool.description))).split()
    if len(words) > 2 and words[0].lower() in _CLAUSES:
        # "How good the signal is" is what the tool tells.
        return _spoken(" ".join(["tell you", *_cut([words[0].lower(), *words[1:]], _LONGEST_ABILITY)]))
    named = [word for word in tokens(tool.name) if not word.isdigit()]
    verb = _verb(words[0]) if words else None
    if words and words[0].lower() == "returns":
        verb = "get"
    if verb is None or len(words) < 2:
        verb = _verb(named[0]) if named else None
        if verb and len(words) > 1 and words[0].lower() in ("the", "a", "an") and not _is_kind_of_tool(words):
            # "The latest invoices" of `list_invoices` is what it lists.
            words = [verb, words[0].lower(), *words[1:]]
        elif verb and len(named) > 1:
            words = [verb, *([] if named[1] in _NO_ARTICLE else ["the"]), *named[1:]]
        else:
            return ""
    # In "Searches and returns" the second verb loses its ending, too.
    rest = [
        imperative(word) or word if before in ("and", "or") and _is_third(word) else word
        for before, word in pairwise(words)
    ]
    return _spoken(" ".join([verb, *_cut(rest, _LONGEST_ABILITY)]))


def _verb(word: str) -> str | None:
    """Return the base form of a verb that may begin what a tool does; in other places these few are no such sign."""
    return imperative(word) or _FIRST_VERBS.get(word.lower())


def _is_kind_of_tool(words: list[str]) -> bool:
    """Return whether a description says what kind of thing the tool is, not what it gives: `a weather service`."""
    return bool(
        {word.lower().rstrip("s") for word in words} & {"tool", "service", "api", "function", "endpoint", "helper"}
    )


def _first_sentence(text: str) -> str:
    return _SENTENCE_END.split(_ASIDE.sub("", text.strip()), maxsplit=1)[0].strip(" .,'\"")


def _spoken(phrase: str) -> str:
    """Return a phrase as a person says it: `the specified city` is `the city`, `the user's order` is `your order`."""
    phrase = _POINTING.sub(lambda match: f"{article(match[1], match[2])} " if match[1] else "", phrase)
    return _USER.sub("you", _USERS.sub("your", phrase))


def article(word: str, before: str) -> str:
    """Return `a` or `an`, as the letter that follows wants it. Any other word stays as it is."""
    if word.lower() not in ("a", "an"):
        return word
    return word[0] + ("n" if before[0].lower() in "aeiou" else "")


def _is_third(word: str) -> bool:
    return word.endswith("s") and imperative(word) not in (None, word.lower())


def _cut(words: list[str], longest: int) -> list[str]:
    """Return the beginning of a long text, up to a place where it may end."""
    if len(words) <= longest:
        return words
    stops = (
        "and",
        "or",
        "based",
        "using",
        "including",
        "with",
        "for",
        "that",
        "which",
        "by",
        "in",
        "from",
        "such",
        "via",
    )
    for place in range(longest, 2, -1):
        if words[place].lower() in stops or words[place - 1].endswith(","):
            return [*words[: place - 1], words[place - 1].rstrip(",")]
    return words[:longest]


def topic(tool: Tool) -> str:
    """Return what the tool is about, for a tool whose texts hold no verb: its name in words."""
    return " ".join(word for word in tokens(tool.name) if not word.isdigit()) or "this"


def thing(name: str, schema: Mapping[str, Any]) -> str:
    """Return the parameter as the object of "I need ...": `the name of the city`, `the start date`.

    The text is empty if nothing says what the parameter is.
    """
    text = _first_sentence(str(schema.get("description", "")))
    text = _FORMAT.sub("", text).strip(" .,'\"")
    has_article = text[:4].lower() == "the "
    text = text[4:] if has_article else text
    words = text.split()
    plain = plain_name(name, schema)
    if schema.get("type") == "boolean" and plain:
        return plain
    if not 1 < len(words) <= _LONGEST_THING or _OPENS_BADLY.match(text) or not text.isascii():
        return plain
    # "Customer Name" is a heading; acronyms and names inside a sentence keep their capitals.
    if text.istitle():
        words = text.lower().split()
    # A capital that begins no sentence is a name's, too.
    first = words[0] if has_article or words[0][1:] != words[0][1:].lower() else words[0].lower()
    return _spoken(f"the {' '.join([first, *words[1:]])}")


def plain_name(name: str, schema: Mapping[str, Any] | None = None) -> str:
    """Return a parameter's name in words: `the pickup date`; an empty text for a name that says nothing.

    Of what is true or false it is a clause: `whether it should be enabled`. Of numbers of things it is `the number of
    guests`.
    """
    words = [word for word in tokens(name) if not word.isdigit()]
    # Many data sets hide names behind random letters, which nobody can say.
    opaque = re.search(r"\d[A-Za-z]|[A-Za-z]\d", name) or (len(words) > 2 and len("".join(words)) < 3 * len(words))
    if not words or set(words) <= _VAGUE or opaque:
        return ""
    if words in (["since"], ["until"]):
        return f"{words[0]} when"
    kind = (schema or {}).get("type")
    if kind == "boolean":
        return _whether(words)
    spoken = " ".join(word.upper() if word in _ACRONYMS else word for word in words)
    is_many = kind in ("integer", "number") and words[-1].endswith("s") and not words[-1].endswith("ss")
    return f"the number of {spoken}" if is_many and words[0] not in ("number", "num") else f"the {spoken}"


def _whether(words: list[str]) -> str:
    """Return what a parameter that is true or false asks: `whether to include tax`, `whether it is active`."""
    spoken = " ".join(words)
    if words[0] in ("is", "has", "can", "should"):
        return f"whether it {spoken}"
    if words[-1].endswith("ed"):
        return f"whether it should be {spoken}"
    is_verb = words[0] in ("include", "exclude") or imperative(words[0]) == words[0]
    return f"whether to {spoken}" if is_verb and words[1:] else f"whether you want it {spoken}"


def options(schema: Mapping[str, Any]) -> list[str]:
    """Return the few values that a parameter may have, as text; none when there are many or no such list."""
    allowed = schema.get("enum")
    if not isinstance(allowed, list | tuple) or not 2 <= len(allowed) <= 5:
        return []
    return [
        re.sub(r"(?<=\w)[_-](?=\w)", " ", str(value)) if isinstance(value, str) else str(value)
        for value in allowed
        if isinstance(value, str | int | float) and str(value).strip()
    ]

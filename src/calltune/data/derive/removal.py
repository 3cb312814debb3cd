"""Takes one value out of a sentence so that it stays a sentence; where no rule is sure, nothing is taken.

A value is dropped with what introduces it ("in Paris", "called Max", "with the id 12"). It gives way to "something"
after a verb that needs an object ("play Yesterday"), and to "some" as a count ("two tickets"). It is dropped alone
before the noun that it describes ("drama movies") and behind the noun that it names ("the user 'max'").
"""

import re
from collections.abc import Set

from calltune.data.derive.phrases import article
from calltune.data.derive.values import spans
from calltune.data.derive.vocabulary import imperative, stem, word_set

_PREPOSITIONS = word_set(
    "in on at for from to with by about near around until till after before since during of as into under "
    "over between towards through within regarding concerning"
)
_ARTICLES = word_set("a an the my our your his her their some any")
_CLOSES = _PREPOSITIONS - {"of"} | word_set("please thanks thank now today tomorrow instead too again that which who")
# Behind these the preposition belongs to the verb.
_CLINGING = word_set(
    "look looking looked search searching searched listen listening wait waiting ask asking talk talking know "
    "think care interested reminds hear heard tell apply sign check dream hungry mood want going go change "
    "changed set switch turn similar related compared equal close next due according belong up out kind type "
    "number lot sort list rate depends refer referring call dial how what starting ending while when if is "
    "than not only written made sung given held sent known drawn suitable relevant famous back"
)
_STAYING = word_set("is are was were be am been 's 'm 're live living lives located based reside born stay it's i'm")
_LABELS = word_set(
    "id ids number code isbn name username user account sku address zip zipcode email phone title order "
    "ticket booking reference tracking handle tag symbol url link key serial patient student employee "
    "customer device product item hash word phrase string keyword term topic date"
)
_CALLED = word_set("called named titled entitled labeled labelled")
_COUNTED = word_set(
    "people persons person guests guest adults adult children kids nights night days day hours hour minutes "
    "minute weeks passengers travelers travellers seconds months years diners us of"
)
_OBJECT_VERBS = word_set(
    "want have having like love get getting order grab take try need see watch hear play find book buy add "
    "put read rent show give rate cancel remove delete make do bring search translate convert stream open "
    "start visit play playing watching finding seeing ordering trying buying recommend"
)
_HOLES = re.compile(
    r"\b(?:an?|the|my|our|your|in|on|at|for|from|to|with|by|of|and|or|as|near|about)\s*(?:[,.;:?!]|$)|"
    r"\b(?:an?|the|my)\s+(?:in|on|at|for|from|to|with|by|and|or|of|please|is|are|an?|the)\b|"
    r"\b(?:and|or)\s+(?:and|or|with|in)\b|[,;]\s*[,;]|\b(?:is|are|called|named)\s*(?:[,.;]|$)|\(\s*\)|['\"]\s*['\"]",
    re.IGNORECASE,
)
_SEEKING = word_set("look looking search searching listen listening ask hungry")
_NUMBER = re.compile(
    r"\d|^\s*(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty)\b",
    re.IGNORECASE,
)
# This matches "My name is" and "The new location is" at the start of a sentence or behind its last comma.
_STATEMENT = re.compile(
    r"(?:^|(?<=[.!?;] )|\s*(,)\s*(?:and )?)(?:my|the|our|its|his|her)(?: [\w-]+){1,4} (?:is|are|will be|should be)\s+$",
    re.IGNORECASE,
)
_MAY_HAVE = re.compile(
    r"\b(?:can|could|may|might|to|please|like|i'll|we'll|you)(?: (?:i|we|please|just|also))* have$", re.IGNORECASE
)
_SUBJECTS = word_set("i it we they he she that this you")
_STATEMENT_END = re.compile(r"\s*(?:[.!;]+\s*|$)")
_WORD_AFTER = re.compile(r"\s*([\w'\u2019-]+)")
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "`": "`"}


def without(text: str, value: object, vocabulary: Set[str]) -> str | None:
    """Return the text without any occurrence of the value; None when it would not stay a sentence.

    Args:
        vocabulary: stems of the tool's words. A noun among them is what the value describes, not a part of the value.
    """
    original = text
    while places := spans(text, value):
        start, end = places[-1]
        shorter = _without_statement(text, start, end) or _without_span(text, start, end, vocabulary)
        if shorter is None or len(spans(shorter, value)) >= len(places):
            return None
        text = shorter
    return _without_stubs(text, original)


def _without_stubs(text: str, original: str) -> str | None:
    """Drop sentences of which the value left a subject and a verb alone: "It began.", "I pay."."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    kept = [each for each in sentences if each in original or not _is_stub(each.split())]
    if len(kept) == len(sentences):
        return text
    return " ".join(kept) if len(" ".join(kept).split()) > 2 else None


def _is_stub(words: list[str]) -> bool:
    return 0 < len(words) < 3 and words[0].lower() in _SUBJECTS


def _without_statement(text: str, start: int, end: int) -> str | None:
    """Drop the whole sentence or last clause, where it says nothing but the value: "My name is Max."."""
    start, end, _ = _with_marks(text, start, end)
    after = _STATEMENT_END.match(text, end)
    before = _STATEMENT.search(text, 0, start)
    if not after or not before:
        return None
    rest = text[: before.start()] + (
        text[after.end() :] if before[1] != "," else after[0].strip() + text[after.end() :]
    )
    return _tidied(text, rest) if len(rest.split()) > 2 else None


def _without_span(text: str, start: int, end: int, vocabulary: Set[str]) -> str | None:
    start, end, quoted = _with_marks(text, start, end)
    taken, before, after = text[start:end], text[:start], text[end:]
    following = _WORD_AFTER.match(after)
    next_word = following[1] if following else ""
    # `, France` belongs to the city before it, and a value in a list leaves a hole.
    if re.match(r"\s*,\s*(?!I\b)(?:[A-Z]|(?:to|from|until|till)\b)", after):
        return None
    closed = not after.strip() or bool(re.match(r"\s*[.;:?!,)]", after)) or next_word.lower() in _CLOSES
    if following and next_word.lower() in ("and", "or") and (second := _WORD_AFTER.match(after, following.end())):
        closed = imperative(second[1]) is not None or second[1].lower() in ("i", "then", "please", "is", "what", "how")
    words = [(match.start(), match[0].lower()) for match in re.finditer(r"[\w'\u2019-]+", before)]
    if not words or re.search(r"[^\w\s'\u2019-]", before[words[-1][0] + len(words[-1][1]) :]):
        return None
    if not closed and not following:
        return None
    number = bool(_NUMBER.search(taken))
    if closed:
        replaced = _before_end(before, after, words, quoted or bool(re.search(r"[A-Z0-9]", taken)), number, vocabulary)
    else:
        replaced = _before_noun(before, after, words, next_word, number, vocabulary)
    return _tidied(text, replaced) if replaced is not None else None


def _with_marks(text: str, start: int, end: int) -> tuple[int, int, bool]:
    """Return the span with the quotes or the currency sign around it, and whether there are quotes."""
    quoted = start > 0 and text[start - 1] in _QUOTES and text[end : end + 1] == _QUOTES[text[start - 1]]
    if quoted:
        start, end = start - 1, end + 1
    elif start > 0 and text[start - 1] in "$\u20ac\u00a3#@":
        start -= 1
    return start, end, quoted


def _before_noun(
    before: str, after: str, words: list[tuple[int, str]], noun: str, number: bool, vocabulary: Set[str]
) -> str | None:
    """Return the sentence without a value that describes the noun behind it."""
    (place, word), lower = words[-1], noun.lower()
    if number:
        rest = after[after.index(noun) + len(noun) :]
        following = _WORD_AFTER.match(rest)
        if word == "for" and lower in _COUNTED and (not following or following[1].lower() in _CLOSES):
            return before[:place].rstrip() + rest
        return f"{before}some{after}" if lower.endswith("s") and word in _OBJECT_VERBS else None
    # A capital letter goes on with the name, as in "New York City".
    if noun[0].isupper() or stem(lower) not in vocabulary:
        return None
    if word in _ARTICLES or word in _OBJECT_VERBS or imperative(word):
        return _fit_article(before, after)
    return None


def _fit_article(before: str, after: str) -> str:
    following = _WORD_AFTER.match(after)
    if following and (match := re.search(r"\b(an?)\s*$", before, re.IGNORECASE)):
        before = before[: match.start(1)] + article(match[1][0], following[1]) + " "
    return before.rstrip() + " " + after.lstrip()


def _before_end(
    before: str, after: str, words: list[tuple[int, str]], names: bool, number: bool, vocabulary: Set[str]
) -> str | None:
    """Return the sentence without a value that closes a phrase."""
    place, word = words[-1]
    second = words[-2][1] if len(words) > 1 else ""
    if word in _CALLED:
        return before[:place].rstrip(" ,") + after
    if word in _ARTICLES:
        # The article is dropped with the value.
        return _by_word(before, after, *_shift(words, 1), number)
    labels = 0
    while labels < min(3, len(words)) and words[-1 - labels][1] in _LABELS:
        labels += 1
    if labels and len(words) > labels:
        return _labelled(before, after, words, labels)
    if names and second in _ARTICLES and stem(word) in vocabulary and word not in _PREPOSITIONS:
        return _indefinite(before, words[-2]) + after
    return _by_word(before, after, place, word, second, number)


def _indefinite(before: str, definite: tuple[int, str]) -> str:
    """Make `the planet`, whose name is gone, `a planet`; `my playlist` stays."""
    place, word = definite
    before = before.rstrip()
    if word != "the":
        return before
    rest = before[place + len(word) :].lstrip()
    return f"{before[:place]}{article(before[place].replace('t', 'a').replace('T', 'A'), rest)} {rest}"


def _shift(words: list[tuple[int, str]], count: int) -> tuple[int, str, str]:
    place, word = words[-1 - count] if len(words) > count else (0, "")
    return place, word, words[-2 - count][1] if len(words) > count + 1 else ""


def _labelled(before: str, after: str, words: list[tuple[int, str]], labels: int) -> str | None:
    """Drop all of `with the id 12`, and keep `my order` of `my order number 12`."""
    place, word, second = _shift(words, labels)
    if word in _ARTICLES:
        outer, preposition, behind = _shift(words, labels + 1)
        if preposition in ("with", "by", "under") and behind not in _CLINGING and not behind.endswith("ed"):
            return before[:outer].rstrip() + after
        if labels > 1 and word != "the" and words[-1][1] in ("id", "number", "code"):
            return before[: words[-1][0]].rstrip() + after
        return None if words[-1][1] in ("id", "number", "code") else _indefinite(before, (place, word)) + after
    if word in _PREPOSITIONS and second and second not in _CLINGING | _STAYING and not second.endswith("ed"):
        return before[:place].rstrip() + after
    return None


def _by_word(before: str, after: str, place: int, word: str, second: str, number: bool) -> str | None:
    """Decide by what stands before the value and its article: a preposition, or a verb that needs an object."""
    if word in _OBJECT_VERBS:
        # "I have a cold" tells, "may I have a latte" asks.
        number = number or (word in ("have", "having") and not _MAY_HAVE.search(before[: place + len(word)]))
        return None if number else f"{before[: place + len(word)]} something{after}"
    if word not in _PREPOSITIONS or word == "between" or second in _STAYING or re.search(r"'(?:s|m|re)$", second):
        return None
    if not second:
        return after.lstrip(" ,")
    if second in _SEEKING and word in ("for", "about", "of", "to") and not number:
        return f"{before[: place + len(word)]} something{after}"
    if second in _CLINGING | _PREPOSITIONS | _ARTICLES or second.endswith("ed") or re.match(r"\d", second):
        return None
    return before[:place].rstrip() + after


def _tidied(original: str, text: str) -> str | None:
    """Put spaces, capitals and articles right; return None when a hole is left that was not there before."""
    text = re.sub(r"[ \t]{2,}", " ", text)
    text = re.sub(r"\s+([,.;:?!])", r"\1", text)
    text = re.sub(r"^[\s,;:.]+", "", text).strip()
    text = re.sub(
        r"\b(an?) (\w)", lambda m: f"{article(m[1][0], m[2])} {m[2]}" if f"{m[0]}" not in original else m[0], text
    )
    if not text or len(_HOLES.findall(text)) > len(_HOLES.findall(original)):
        return None
    if re.search(r"\b(\w+) \1\b", text, re.IGNORECASE) and not re.search(r"\b(\w+) \1\b", original, re.IGNORECASE):
        return None
    return text[0].upper() + text[1:] if original[:1].isupper() else text

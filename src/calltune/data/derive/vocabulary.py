"""Words of tools and questions: tokens, stems, and verbs that ask for the same thing."""

import re

_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def word_list(text: str) -> list[str]:
    """Return the words of a text, in order."""
    return text.split()


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(word_list(text))


STOP_WORDS = word_set(
    "a about all also am an and any are as at based be been being by can could do does for from get given has "
    "have he her his how i if in into is it its like me my need now of on or our out please should so some "
    "specific specified than that the their them then there these they this those to up us use used user "
    "using via want was we were what when where which who will with would you your thanks thank hi hey hello "
    "just something someone sometime somewhere api function tool service data information info details list e "
    "g etc such one im id"
)

_SAME_VERB = {
    "get": "access browse check discover display fetch find gather get give list locate look lookup obtain provide "
    "query read retrieve return search see show view",
    "create": "add append create generate insert make new place put register start submit",
    "book": "book reserve reservation arrange appointment",
    "buy": "buy order pay purchase",
    "remove": "cancel clear delete drop remove unsubscribe",
    "change": "adjust change edit modify rename set update",
    "compute": "calculate compute determine estimate evaluate",
    "send": "deliver email message post send share",
    "play": "listen play stream watch",
}
CANONICAL = {word: verb for verb, words in _SAME_VERB.items() for word in words.split()}

VERBS = frozenset(CANONICAL) - {"new", "reservation", "appointment", "message"} | word_set(
    "activate admit allow analyze answer apply assess assign autocomplete begin block blacklist bring build "
    "call choose classify clean close collect combine compare compress conduct configure confirm connect "
    "consult contact control convert copy count deactivate debug decode decrypt define demolish describe "
    "design detect direct disable download draw enable encode encrypt end enforce enhance enroll enter "
    "establish execute explore export extract file fill filter finalize finish flatten follow format free "
    "grab help hide identify import increase decrease initiate inspect install invert invite join keep launch "
    "leave like link load lock log maintain manage map mark measure merge mix monitor move mute narrow "
    "navigate need notify open optimize organize parse pause perform pick plan predict prepare print proceed "
    "process produce pull push rate recommend recognize record redeem reduce refund release reload remind "
    "render renew rent reorder repair replace report request reschedule reset resolve restore resume reverse "
    "review ride roll run save scan schedule scrape select sell sign simulate skip solve sort split stop "
    "store subscribe suggest summarize support switch take tell test toggle track transfer translate turn "
    "unblock unlink unlock upload use validate verify visit wait want withdraw write terminate serve"
)

_ODD_ENDINGS = {"queries": "query", "applies": "apply", "lies": "lie", "does": "do", "has": "have"}


def tokens(text: str) -> list[str]:
    """Return lower-case words and numbers; names in snake_case and camelCase fall apart."""
    return [token.lower() for token in _TOKEN.findall(text)]


def stem(word: str) -> str:
    """Return the word without a plural, -ing or -ed ending.

    That is enough to know a word again; it is no linguistics.
    """
    for ending, replacement in (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + replacement
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            word = word[: -len(ending)]
            return word[:-1] if word[-1:] == word[-2:-1] and word[-1] not in "ls" else word
    return word


def content_words(text: str) -> set[str]:
    """Return stems of the words that say something; single letters and stop words do not."""
    return {stem(word) for word in tokens(text) if word not in STOP_WORDS and (len(word) > 1 or word.isdigit())}


def imperative(word: str) -> str | None:
    """Return the verb's base form for `Get`, `gets` or `Retrieves`.

    Return None for what is no verb that tools are known to do.
    """
    word = word.lower()
    if word in VERBS:
        return word
    if word in _ODD_ENDINGS:
        return _ODD_ENDINGS[word]
    if word.endswith("ies") and word[:-3] + "y" in VERBS:
        return word[:-3] + "y"
    for ending in ("s", "es"):
        if word.endswith(ending) and word[: -len(ending)] in VERBS:
            return word[: -len(ending)]
    return None

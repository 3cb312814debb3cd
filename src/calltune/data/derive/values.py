"""The forms in which an argument's value stands in what people write: case, numbers in words, dates, times of day."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from calltune.data.derive.vocabulary import STOP_WORDS, stem, tokens, word_list

_ONES = word_list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = word_list("twenty thirty forty fifty sixty seventy eighty ninety")
_MONTHS = word_list("january february march april may june july august september october november december")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?")


def number_words(number: int) -> str | None:
    """Return `twenty-one` for 21; None outside 0 to 99."""
    if not 0 <= number < 100:
        return None
    if number < 20:
        return _ONES[number]
    tens, ones = _TENS[number // 10 - 2], number % 10
    return f"{tens}-{_ONES[ones]}" if ones else tens


def forms(value: Any) -> list[str]:
    """Return how the value may be written, most literal first; none for lists, objects, true, false and null."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return []
    text = " ".join(str(value).split())
    written = [text, *_number_forms(text), *_date_forms(text), *_time_forms(text)]
    if "_" in text:
        written.append(text.replace("_", " "))
    return [form for form in dict.fromkeys(written) if form]


def _number_forms(text: str) -> Iterator[str]:
    if not _NUMBER.fullmatch(text):
        return
    number = float(text)
    if number.is_integer() and abs(number) < 10**12:
        whole = int(number)
        yield str(whole)
        yield f"{whole:,}"
        if words := number_words(whole):
            yield words
            yield words.replace("-", " ")
    else:
        yield f"{number:g}"


def _date_forms(text: str) -> Iterator[str]:
    match = _ISO_DATE.fullmatch(text)
    if not match:
        return
    try:
        day = date(*map(int, match.groups()))
    except ValueError:
        return
    long = _MONTHS[day.month - 1]
    for month in (long, long[:3], "sept" if day.month == 9 else long[:3]):
        for number in (f"{day.day}{_ordinal(day.day)}", str(day.day), f"0{day.day}" if day.day < 10 else str(day.day)):
            for year in (f", {day.year}", f" {day.year}", ""):
                yield f"{month} {number}{year}"
                yield f"{number} {month}{year}"
                yield f"{number} of {month}{year}"
    yield from (
        f"{day.month}/{day.day}/{day.year}",
        f"{day.month:02}/{day.day:02}/{day.year}",
        f"{day.month}/{day.day}",
    )
    # People say the day alone when the month is clear.
    yield f"{day.day}{_ordinal(day.day)}"


def _ordinal(day: int) -> str:
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _time_forms(text: str) -> Iterator[str]:
    match = _CLOCK.fullmatch(text)
    if not match or int(match[1]) > 23:
        return
    hour, minutes = int(match[1]), match[2]
    twelve, half = hour % 12 or 12, "am" if hour < 12 else "pm"
    halves = (half, f" {half}", f" {half[0]}.m.", f"{half[0]}.m.", f" {half[0]} {half[1]}")
    words = (str(twelve), _ONES[twelve])
    for spoken in words:
        if minutes == "00":
            yield from (f"{spoken}{end}" for end in halves)
            yield from (f"{spoken} o'clock", f"{spoken} in the morning", f"{spoken} in the evening")
            yield f"{spoken} in the afternoon"
    yield from (f"{twelve}:{minutes}{end}" for end in halves)
    yield from (f"{twelve}:{minutes}", f"{hour}:{minutes}", f"{hour:02}:{minutes}")
    for quarter, phrase in (("15", "quarter past"), ("30", "half past")):
        if minutes == quarter:
            yield from (f"{phrase} {spoken}" for spoken in words)
    if hour in (0, 12) and minutes == "00":
        yield "midnight" if hour == 0 else "noon"


def spans(text: str, value: Any) -> list[tuple[int, int]]:
    """Return where the value stands in the text, left to right, none overlapping.

    The longest form comes first where several fit.
    """
    places: list[tuple[int, int]] = []
    for form in sorted(forms(value), key=len, reverse=True):
        for match in _pattern(form).finditer(text):
            if all(match.end() <= start or end <= match.start() for start, end in places):
                places.append(match.span())
    return sorted(places)


def _pattern(form: str) -> re.Pattern[str]:
    # A form does not count inside a longer word, number, date or percentage.
    words = r"[\s]+".join(re.escape(word) for word in form.split())
    plural = r"(?:'s|s|es)?" if re.search(r"[A-Za-z]{3}$", form) else ""
    return re.compile(
        rf"(?<![\w])(?<![\d][.,:/-])(?<![\w]-){words}{plural}(?![\w%])(?![.,:/-]\d)(?!-[A-Za-z])", re.IGNORECASE
    )


def telling_words(value: Any) -> set[str]:
    """Return stems of the words that would still give the value away when they were left: long ones, and numbers."""
    return {
        stem(word)
        for word in tokens(str(value))
        if word not in STOP_WORDS and (len(word) >= 4 or (word.isdigit() and len(word) >= 2))
    }


def is_told(text: str, value: Any) -> bool:
    """Return whether the text holds the value in any form, or one of its telling words."""
    return bool(spans(text, value)) or bool(telling_words(value) & {stem(word) for word in tokens(text)})


def same_value(one: Any, other: Any) -> bool:
    """Return whether two values are equal for a reader.

    `2`, `"2"` and `2.0` are, and so are `Paris` and `paris `; true and 1 are not.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if one == other:
        return True
    if isinstance(one, list | dict) or isinstance(other, list | dict) or one is None or other is None:
        return False
    return {form.casefold() for form in forms(one)[:1]} == {form.casefold() for form in forms(other)[:1]} or (
        _as_number(one) is not None and _as_number(one) == _as_number(other)
    )


def _as_number(value: Any) -> float | None:
    text = str(value).strip()
    return float(text) if _NUMBER.fullmatch(text) else None

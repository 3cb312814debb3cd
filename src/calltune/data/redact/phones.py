"""Phone numbers: the digits that all ways to write one share, and other digits that are a number of the same place."""

from collections.abc import Callable

PHONE = "phone_number"
REGIONS = ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")
"""Those of Presidio's recogniser, in which a number without its country's code is looked for."""

_MAX_TRIES = 50


def national_digits(text: str) -> str:
    """Return a number without its country's code, its leading zero and its extension; all digits of what is none."""
    import phonenumbers

    for region in (None, *REGIONS):
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return phonenumbers.national_significant_number(number)
    return "".join(char for char in text if char.isdigit())


def other_number(digits: str, draw: Callable[[str], str]) -> str:
    """Return digits of the same length and place that are as valid as these were.

    Args:
        draw: gives a text of random letters and digits in the place of those of a text.
    """
    import phonenumbers

    def regions_of(number: str) -> set[str]:
        valid = set()
        for region in REGIONS:
            try:
                if phonenumbers.is_valid_number(phonenumbers.parse(number, region)):
                    valid.add(region)
            except phonenumbers.NumberParseException:
                continue
        return valid

    # In North America no subscriber's number begins with 555.
    head, middle = (digits[:3], "555") if len(digits) == 10 and "US" in regions_of(digits) else (digits[:3], "")
    wanted, number = regions_of(digits), digits
    for _ in range(_MAX_TRIES):
        number = head + middle + draw(digits[len(head) + len(middle) :])
        if number != digits and (not wanted or wanted & regions_of(number)):
            break
    return number

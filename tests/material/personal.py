"""Personal details of every kind that is looked for by default, made up, and rows that hold them in every place."""

import json
from typing import Any

PATTERNS = {"customer": r"\bCU-\d{6}\b", "badge": r"(?<=badge )[A-Z]\d{3}[a-z]"}

DETAILS = [
    "alice.smith@corp-mail.com",
    "Bob_Jones+shop@mail.example.co.uk",
    "CAROL@CORP.COM",
    "dave@intranet.local",
    "x1@y2.io",
    "erin.o'neil@corp.com",
    "(415) 555-2671",
    "+1 212-456-7890",
    "+44 20 7946 0958",
    "+49 30 901820",
    "06 12 34 56 78",
    "2125551234",
    "4111 1111 1111 1111",
    "5555555555554444",
    "3782-822463-10005",
    "6011111111111117",
    "DE89 3704 0044 0532 0130 00",
    "GB82WEST12345698765432",
    "FR1420041010050500013M02606",
    "8.8.4.4",
    "192.168.17.44",
    "2a00:1450:4001:81b::200e",
    "00:1B:44:11:3A:B7",
    "219-09-9998",
    "536-22-8726",
    "912-70-1234",
    "943 476 5919",
    "AA 12 34 56 B",
    "046 454 286",
    "ABCPE1234F",
    "12345678Z",
    "X1234567L",
    "RSSMRA85T10A562S",
    "S1234567D",
    "44051401359",
    "131052-308T",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "hf_abcdEFGH1234ijklMNOP5678",
    "AKIAIOSFODNN7EXAMPLE",
    "s3cretPass",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF123456",
    "CU-123456",
    "Q417z",
]
IN_ADDRESS = "postgres://svc:s3cretPass@db/main"
WORDS = {"q", "Find it.", "it", "x", "y", "r", "a", "b", "Here.", "None.", "Wait.", "no x", "no y", "s", "yes", "no"}
"""What the toy rows say; these texts, and nothing of their structure, are where details are planted."""


def said(detail: str) -> str:
    """A text that says a detail as somebody would."""
    detail = IN_ADDRESS if detail == "s3cretPass" else f"badge {detail}" if detail == "Q417z" else detail
    return f"it is {detail}, as I said"


def planted(value: Any, detail: str) -> Any:
    """Rows with a detail in every text that somebody said, also in JSON text."""
    if isinstance(value, dict):
        # A tool's own words stay as they are.
        return {key: inner if key == "description" else planted(inner, detail) for key, inner in value.items()}
    if isinstance(value, list):
        return [planted(inner, detail) for inner in value]
    if not isinstance(value, str):
        return value
    if value in WORDS:
        return f"{value} {said(detail)}"
    try:
        inner = json.loads(value)
    except ValueError:
        # Glaive's and Hermes' texts hold their calls among words.
        return value.replace('"it"', json.dumps(said(detail))).replace(" q\n", f" q {said(detail)}\n")
    return json.dumps(planted(inner, detail)) if isinstance(inner, dict | list) else value


def leaks(text: str, details: list[str]) -> list[str]:
    """The details that a text still holds: as they were, without separators, or as JSON or a page writes them."""
    held = []
    for detail in details:
        escaped = {json.dumps(detail)[1:-1], detail.replace("@", "%40"), detail.replace("'", "&#39;")}
        forms = {detail, detail.lower(), *escaped}
        if sum(char.isalnum() for char in detail) > 7 and not any(char in "@.:'_" for char in detail):
            forms.add("".join(char for char in detail if char.isalnum()))
        if any(form in text for form in forms):
            held.append(detail)
    return held

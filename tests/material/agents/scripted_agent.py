"""One agent whose conversations are written down: what every SDK and exporter is given to record.

A conversation is a list of messages in OpenAI's layout, without the system's text. Its answers are the model's, which a
server on this machine gives; its results are those of six tools. Nothing here needs an SDK.
"""

import json
from typing import Any

SYSTEM = "You plan trips. Use the tools; never guess a price."


def _tool(name: str, description: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


_CITY = {"type": "string", "description": "The city's name."}
_DAYS = {"type": "integer", "description": "How many days."}
_WISHES = {
    "type": "object",
    "properties": {
        "quiet": {"type": "boolean", "description": "Whether it must be quiet."},
        "floor": {"type": "integer", "description": "The floor."},
    },
    "description": "What the room should be like.",
    "required": [],
    "additionalProperties": False,
}
TOOLS = [
    _tool("get_weather", "The weather of a city.", {"city": _CITY, "days": _DAYS}, "city"),
    _tool(
        *("find_trains", "Trains between two cities."),
        {
            **{"start": _CITY, "end": _CITY},
            "class": {"type": "string", "enum": ["first", "second"], "description": "The class."},
        },
        *("start", "end"),
    ),
    _tool(
        *("book_room", "Books a room of a hotel."),
        {
            "hotel": {"type": "string", "description": "The hotel's name."},
            "guests": {"type": "array", "items": {"type": "string"}, "description": "The names of all guests."},
            "wishes": _WISHES,
        },
        *("hotel", "guests"),
    ),
    _tool(
        *("convert", "Converts an amount of euros."),
        {
            "amount": {"type": "number", "description": "The amount."},
            "to": {"type": "string", "description": "The other currency."},
        },
        "amount",
    ),
    _tool("list_trips", "The trips that are booked.", {}),
    _tool("cancel_trip", "Cancels a trip.", {"trip": {"type": "string", "description": "Its name."}}, "trip"),
]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def calls(*named: tuple[str, str, dict[str, Any]], text: str = "") -> dict[str, Any]:
    """Return an answer of calls, each of an id, a tool and its arguments."""
    listed = [
        {"id": number, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for number, name, arguments in named
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": listed}


def result(number: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": number, "content": text}


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one call": [
        user("What is the weather in Bern?"),
        calls(("call_w1", "get_weather", {"city": "Bern"})),
        result("call_w1", '{"sky": "clear", "celsius": 21}'),
        says("It is clear in Bern, at 21 degrees."),
    ],
    "parallel calls": [
        user("Compare the weather in Oslo and Rome, and find me a train from Oslo to Rome."),
        calls(
            ("call_p1", "get_weather", {"city": "Oslo", "days": 2}),
            ("call_p2", "get_weather", {"city": "Rome", "days": 2}),
            ("call_p3", "find_trains", {"start": "Oslo", "end": "Rome", "class": "first"}),
        ),
        result("call_p1", "rain"),
        result("call_p2", "sun"),
        result("call_p3", "no direct train"),
        says("Oslo has rain, Rome has sun, and there is no direct train."),
    ],
    "an error of a tool": [
        user("Cancel my trip to Atlantis."),
        calls(("call_e1", "cancel_trip", {"trip": "Atlantis"})),
        result("call_e1", "ERROR: no trip of this name"),
        calls(("call_e2", "list_trips", {})),
        result("call_e2", "Athens, Lyon"),
        says("There is no trip to Atlantis. You have booked Athens and Lyon."),
    ],
    "a direct answer": [user("Hello, who are you?"), says("I plan trips. Where would you like to go?")],
    "asking back": [
        user("Book a room at the Bellevue."),
        says("For whom should I book it?"),
        user("For Ada and Grace, on a quiet floor."),
        calls(
            (
                "call_a1",
                "book_room",
                {"hotel": "Bellevue", "guests": ["Ada", "Grace"], "wishes": {"quiet": True, "floor": 3}},
            )
        ),
        result("call_a1", "booked: number 4711"),
        says("The room is booked. Its number is 4711."),
    ],
    "a refusal": [
        user("Which shares should I buy?"),
        says("I'm sorry, I can't help with that: I have no tool for shares."),
    ],
    "text and a call": [
        user("How much are 12.5 euros in francs?"),
        calls(("call_t1", "convert", {"amount": 12.5, "to": "CHF"}), text="Let me convert that."),
        result("call_t1", "11.75"),
        says("12.5 euros are 11.75 francs."),
    ],
    "two questions": [
        user("Is there a train from Bern to Lyon?"),
        calls(("call_q1", "find_trains", {"start": "Bern", "end": "Lyon"})),
        result("call_q1", "10:04, 14:04"),
        says("Yes, at 10:04 and at 14:04."),
        user("And from Lyon to Nice?"),
        calls(("call_q2", "find_trains", {"start": "Lyon", "end": "Nice"})),
        result("call_q2", "16:30"),
        says("At 16:30."),
    ],
    "a tool without parameters": [
        user("What have I booked?"),
        calls(("call_l1", "list_trips", {})),
        result("call_l1", "[]"),
        says("Nothing is booked yet."),
    ],
    "a chain of calls": [
        user("If it rains in Nice tomorrow, cancel my trip there."),
        calls(("call_c1", "get_weather", {"city": "Nice", "days": 1})),
        result("call_c1", "rain"),
        calls(("call_c2", "cancel_trip", {"trip": "Nice"})),
        result("call_c2", "cancelled"),
        says("It will rain, so I cancelled your trip to Nice."),
    ],
    "streamed words": [
        user("Wish me a good trip in French."),
        says("Bon voyage, et à bientôt !\nÇa ira très bien. 🚆"),
    ],
    "a streamed call": [
        user("Weather in Zürich for three days?"),
        calls(("call_s1", "get_weather", {"city": "Zürich", "days": 3}), text="One moment."),
        result("call_s1", "snow\nsnow\nsun"),
        says("Snow on two days, then sun."),
    ],
}
STREAMED = ("streamed words", "a streamed call")


def answered(messages: list[dict[str, Any]]) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Return each answer of a conversation with all that stands before it."""
    return [(messages[:n], message) for n, message in enumerate(messages) if message["role"] == "assistant"]

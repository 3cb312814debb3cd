"""Toy tools and calls that the tests of `derive` share."""

from typing import Any

from calltune.types import Example, Message, Tool, ToolCall


def tool(name: str, description: str, required: tuple[str, ...] = (), **properties: Any) -> Tool:
    """A tool whose parameters are given as `name="type"` or as a schema; all are optional but the `required`."""
    schemas = {key: {"type": value} if isinstance(value, str) else value for key, value in properties.items()}
    return Tool(name, description, {"type": "object", "properties": schemas, "required": list(required)})


BOOK = tool(
    "book_table",
    "Book a table at a restaurant.",
    ("city", "people"),
    city={"type": "string", "description": "City of the restaurant"},
    people={"type": "integer", "description": "Number of people at the table"},
    outside="boolean",
)
RESERVE = tool(
    "reserve_restaurant_table", "Reserve a table at a restaurant.", ("city",), city="string", people="integer"
)
FIND = tool("find_restaurants", "Find restaurants in a city.", ("city",), city="string")
WEATHER = tool(
    "get_weather", "Get the weather forecast.", ("city",), city={"type": "string", "description": "Name of the city"}
)
PLAY = tool("play_song", "Play a song.", ("title",), title={"type": "string", "description": "Title of the song"})
SEND = tool("send_mail", "Send an email.", ("person",), person={"type": "string", "enum": ["Ann", "Bob", "Cid"]})
ALL = (BOOK, RESERVE, FIND, WEATHER, PLAY, SEND)


def user(text: str) -> Message:
    return Message("user", text)


def call(name: str, **arguments: Any) -> Message:
    return Message("assistant", "", (ToolCall(name, arguments),))


def row(name: str, *messages: Message, tools: tuple[Tool, ...] = (BOOK, WEATHER, PLAY)) -> Example:
    """An example that ends with a call."""
    return Example(name, "toy", messages, tools, "tool_call")


def log(number: int = 12) -> list[Example]:
    """Calls of an agent, as its log would hold them."""
    cities, songs = ("Paris", "Oslo", "Rome", "Lima"), ("Yesterday", "Imagine", "Halo", "Creep")
    rows = []
    for n in range(number):
        city, song = cities[n % 4], songs[n // 4 % 4]
        question, answer = (
            (f"Please book a table in {city} for {n + 2} people.", call("book_table", city=city, people=n + 2)),
            (f"What is the weather forecast for {city} on day {n}?", call("get_weather", city=city)),
            (f"Play {song} for my friend number {n}.", call("play_song", title=song)),
        )[n % 3]
        other = (BOOK, WEATHER, PLAY, SEND) if n % 2 else (BOOK, WEATHER, PLAY)
        rows.append(row(f"log:{n}", user(question), answer, tools=other))
    return rows

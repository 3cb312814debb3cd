"""The tools of the agent, in the one order in which they are always offered."""

from dataclasses import dataclass
from typing import Any

from calltune.data.sources.agent.values import Split
from calltune.types import Tool

SYSTEM = (
    "You are the assistant of Brightline, a mobile phone company. Today is Monday, 2 March 2026. Call a function when "
    "one fits and all it needs is known, ask for what is missing, and say so when something is not yours to do."
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a tool; `kind` says which values fit."""

    name: str
    kind: str
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Ability:
    """What one tool does, and the schema it is offered with."""

    tool: Tool
    parameters: tuple[Parameter, ...]


_NUMBER = {"type": "string", "description": "The Brightline number, 11 digits."}
_POSTCODE = {"type": "string", "description": "A British postcode."}
_DATE = {"type": "string", "format": "date"}
_SCHEMAS: dict[str, dict[str, Any]] = {
    "phone_number": _NUMBER,
    "blocked_number": {"type": "string", "description": "The number to block, 11 digits."},
    "postcode": _POSTCODE,
    "invoice_number": {"type": "string", "pattern": "^BL-[0-9]{5}$"},
    "date": _DATE,
    "start_date": _DATE,
    "since": {"type": "string", "description": "A time of day, HH:MM."},
    "country": {"type": "string"},
    "gigabytes": {"type": "integer", "minimum": 1},
    "pounds": {"type": "integer", "minimum": 1},
    "plan": {"type": "string", "enum": ["Basic", "Plus", "Max"]},
    "method": {"type": "string", "enum": ["card", "direct_debit"]},
    "sim_type": {"type": "string", "enum": ["plastic", "esim"]},
    "part_of_day": {"type": "string", "enum": ["morning", "afternoon", "evening"]},
    "enabled": {"type": "boolean"},
    "operator": {"type": "string"},
}


def _ability(name: str, description: str, *parameters: str) -> Ability:
    """Parameters by name; a question mark at the end makes one optional."""
    every = tuple(Parameter(p.rstrip("?"), p.rstrip("?"), not p.endswith("?")) for p in parameters)
    schema = {
        "type": "object",
        "properties": {p.name: _SCHEMAS[p.name] for p in every},
        "required": [p.name for p in every if p.is_required],
    }
    return Ability(Tool(name, description, schema), every)


ABILITIES = (
    _ability("get_allowance", "What is left of this month's data, minutes and texts.", "phone_number"),
    _ability("list_invoices", "The latest invoices of a number.", "phone_number"),
    _ability("pay_invoice", "Pay one invoice.", "invoice_number", "method"),
    _ability("change_plan", "Put a number on another plan.", "phone_number", "plan", "start_date?"),
    _ability("order_sim", "Send a new SIM for a number.", "phone_number", "sim_type"),
    _ability("check_coverage", "How good the signal is at a place.", "postcode"),
    _ability("report_outage", "Report that there is no signal at a place.", "postcode", "since"),
    _ability("set_roaming", "Turn roaming in a country on or off.", "phone_number", "country", "enabled"),
    _ability("book_callback", "Have a colleague call back.", "phone_number", "date", "part_of_day?"),
    _ability("add_data", "Add data to this month.", "phone_number", "gigabytes"),
)
"""Those that training knows."""

HELD_OUT: dict[Split, tuple[Ability, ...]] = {
    "train": (),
    "development": (
        _ability("set_spending_limit", "Limit what a number may spend in a month.", "phone_number", "pounds"),
        _ability("lend_data", "Give some of a number's data to another person.", "phone_number", "gigabytes"),
    ),
    "final": (
        _ability("block_number", "Let a number get no calls from another one.", "phone_number", "blocked_number"),
        _ability("move_number", "Bring a number over from another operator.", "phone_number", "operator"),
    ),
}
"""Those that only questions of a split offer, behind the others."""

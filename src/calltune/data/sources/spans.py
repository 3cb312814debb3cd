"""Spans and log records of OpenTelemetry, in whatever file they were exported to.

| written by                             | a row is                                                                  |
|----------------------------------------|---------------------------------------------------------------------------|
| the SDKs' console exporters             | a span (`context`, `attributes`, `events`), or a log record                |
| a file exporter of the collector, an SDK| a request of the protocol (`resourceSpans`, `resourceLogs`)                |
| Amazon CloudWatch (AgentCore's groups)  | a span or log record with `traceId` and `spanId`, plain or in `message`    |

The events that a span holds and the log records that name it are the same thing here: its events.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calltune.calling.strict_json import parse_value
from calltune.errors import DataError

_BATCHES = (
    ("resourceSpans", ("scopeSpans", "instrumentationLibrarySpans"), "spans"),
    ("resourceLogs", ("scopeLogs", "instrumentationLibraryLogs"), "logRecords"),
    ("resource_spans", ("scope_spans",), "spans"),
    ("resource_logs", ("scope_logs",), "log_records"),
)
_TYPED = ("stringValue", "boolValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue")
_MAX_DEPTH = 64


@dataclass(slots=True)
class Span:
    """One span, or what is known of it from its log records.

    `where` is the place of its row, and `raw` the span as it was exported. `events` are (name, what it says), in order.
    `is_log` says that only a log record of it was met so far. `record` is its request and its answer where a format
    has them as such; `is_model` says whether the span is a question to a model, None where that is to be told by its
    attributes; `problem` says why it cannot be read.
    """

    where: str
    raw: Any
    name: str = ""
    trace: str = ""
    span: str = ""
    parent: str = ""
    start: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, Any]] = field(default_factory=list)
    is_log: bool = False
    is_model: bool | None = None
    record: dict[str, Any] | None = None
    problem: str = ""


def is_telemetry(row: Mapping[str, Any]) -> bool:
    """Return whether a row holds spans or log records of OpenTelemetry."""
    if any(isinstance(row.get(batches), list) for batches, _, _ in _BATCHES):
        return True
    if isinstance(row.get("attributes"), dict | list):
        context = row.get("context")
        is_span = isinstance(context, dict) and ("span_id" in context or "spanId" in context)
        is_named = bool(row.get("spanId") or row.get("span_id")) and bool(row.get("traceId") or row.get("trace_id"))
        return is_span or (is_named and "info" not in row)
    return any(_is_wrapped(text) for text in _wrapped(row))


def _wrapped(row: Mapping[str, Any]) -> list[Any]:
    """Return the texts of records that CloudWatch wraps.

    A query's result is a row of `@message`, or a list of fields; a subscription and the command line list `logEvents`
    or `events` of a `message` each.
    """
    results = row.get("results")
    if isinstance(results, list):
        fields = [
            field for result in results if isinstance(result, list) for field in result if isinstance(field, dict)
        ]
        return [field.get("value") for field in fields if field.get("field") == "@message"]
    events = row.get("logEvents", row.get("events"))
    listed = events if isinstance(events, list) and "name" not in row else [row]
    return [each.get("@message", each.get("message")) for each in listed if isinstance(each, dict)]


def _is_wrapped(text: Any) -> bool:
    return isinstance(text, str) and text.lstrip().startswith("{") and '"spanId"' in text


def spans_of(row: Mapping[str, Any], where: str) -> list[Span]:
    """Return the spans and log records of a row.

    Raises:
        DataError: what should be a list or an object is none; the message begins with `where`.
    """
    spans = list[Span]()
    if not any(
        isinstance(row.get(key), dict | list) for key in ("attributes", *(batches for batches, _, _ in _BATCHES))
    ):
        for text in _wrapped(row):
            inner = parse_value(text, f"{where}: message") if _is_wrapped(text) else None
            spans += spans_of(inner, where) if isinstance(inner, dict) and is_telemetry(inner) else []
        return spans
    for batches, scopes, listed in _BATCHES:
        for batch in _objects(row.get(batches), f"{where}: {batches}"):
            for key in scopes:
                for scope in _objects(batch.get(key), f"{where}: {key}"):
                    spans += (_span(raw, where) for raw in _objects(scope.get(listed), f"{where}: {listed}"))
    if not any(isinstance(row.get(batches), list) for batches, _, _ in _BATCHES):
        spans.append(_span(row, where))
    return spans


def _objects(value: Any, where: str) -> Iterator[dict[str, Any]]:
    if value is None:
        return
    if not isinstance(value, list):
        raise DataError(f"{where} must be a list, not {type(value).__name__}")
    for number, each in enumerate(value):
        if not isinstance(each, dict):
            raise DataError(f"{where}[{number}] must be an object, not {type(each).__name__}")
        yield each


def _span(raw: Mapping[str, Any], where: str) -> Span:
    inner = raw.get("context")
    context = inner if isinstance(inner, dict) else raw
    span = Span(
        *(
            where,
            raw,
            str(raw.get("name") or ""),
            _id(context, "trace_id", "traceId"),
            _id(context, "span_id", "spanId"),
        ),
        parent=_id(raw, "parent_id", "parentSpanId", "parent_span_id"),
        attributes=_attributes(raw.get("attributes"), f"{where}: attributes"),
    )
    span.start = _time(raw)
    is_log = any(key in raw for key in ("body", "eventName", "event_name", "severityNumber", "severity_number"))
    if is_log:
        named = raw.get("eventName") or raw.get("event_name") or span.attributes.get("event.name")
        span.is_log, body = True, _value(raw.get("body"), 0)
        span.events.append((str(named or ""), body if body else span.attributes))
        span.attributes = {}
        return span
    for event in _objects(raw.get("events"), f"{where}: events"):
        said = _attributes(event.get("attributes"), f"{where}: events: attributes")
        span.events.append((str(event.get("name") or ""), said))
    status = raw.get("status")
    if isinstance(status, dict) and status.get("status_code", status.get("code")) in ("ERROR", "STATUS_CODE_ERROR", 2):
        said = status.get("description") or status.get("message") or "no word of why"
        span.problem = f"it failed: {str(said)[:200]}"
    return span


def _time(raw: Mapping[str, Any]) -> str:
    """Return when a span began, as a text that sorts; within a file all spans say it in one way."""
    keys = ("startTimeUnixNano", "start_time", "timeUnixNano", "timestamp", "observedTimeUnixNano")
    return next((str(raw[key]).zfill(20) for key in keys if isinstance(raw.get(key), str | int)), "")


def _id(place: Any, *keys: str) -> str:
    """Return an identifier without the mark of hexadecimal numbers."""
    value = next((place[key] for key in keys if isinstance(place.get(key), str)), "")
    return value.removeprefix("0x")


def _attributes(raw: Any, where: str) -> dict[str, Any]:
    """Return attributes as an object; the protocol lists them as pairs of a key and a typed value."""
    if raw is None:
        return {}
    if isinstance(raw, dict):
        return {key: _value(value, 0) for key, value in raw.items()}
    return {str(each["key"]): _value(each.get("value"), 0) for each in _objects(raw, where) if "key" in each}


def _value(raw: Any, depth: int) -> Any:
    """Return a value of the protocol without its type."""
    if depth > _MAX_DEPTH or not isinstance(raw, dict) or len(raw) != 1:
        return raw
    ((kind, value),) = raw.items()
    if kind not in _TYPED:
        return raw
    if kind == "intValue" and isinstance(value, str) and value.lstrip("-").isdigit() and len(value) < 20:
        return int(value)
    inner = value.get("values", []) if kind in ("arrayValue", "kvlistValue") and isinstance(value, dict) else None
    if kind == "arrayValue" and isinstance(inner, list):
        return [_value(each, depth + 1) for each in inner]
    if kind == "kvlistValue" and isinstance(inner, list):
        pairs = [each for each in inner if isinstance(each, dict) and "key" in each]
        return {str(each["key"]): _value(each.get("value"), depth + 1) for each in pairs}
    return value


def joined_spans(spans: Sequence[Span]) -> list[Span]:
    """Return spans, each with the events that log records say of it; what no span holds is a span of its records."""
    by_id = dict[tuple[str, str], Span]()
    result = list[Span]()
    for span in sorted(spans, key=lambda span: span.is_log):
        key = (span.trace, span.span)
        known = by_id.get(key) if span.span else None
        if known is not None and span.is_log:
            known.events += span.events
            continue
        result.append(span)
        if span.span and known is None:
            by_id[key] = span
    order = {id(span): number for number, span in enumerate(spans)}
    return sorted(result, key=lambda span: order[id(span)])

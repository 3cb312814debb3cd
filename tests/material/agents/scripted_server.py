"""A server on this machine that answers as OpenAI, Anthropic, Amazon Bedrock and Gemini do, with answers written down.

Each request is given the next answer of `Scripted.script`, or `Scripted.answer` where that is at its end, in the words
of its own service; both hold answers in OpenAI's layout.
"""

import itertools
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_NUMBERS = itertools.count(1)


class Scripted(ThreadingHTTPServer):
    """The server, begun when it is made."""

    answer: dict[str, Any]
    script: Iterator[dict[str, Any]] = iter(())

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received = list[tuple[str, Any]]()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def _pairs(answer: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    named = [(call["id"], call["function"]) for call in answer.get("tool_calls") or []]
    return [(number, function["name"], json.loads(function["arguments"])) for number, function in named]


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, *_: Any) -> None:
        pass

    def do_PATCH(self) -> None:
        self._kept()
        self._send_json({})

    def do_GET(self) -> None:
        self._send_json({})

    def _kept(self) -> dict[str, Any]:
        """Return a request's body; what no service of a model answers is kept, as the clients of traces send it."""
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}"
        body = json.loads(data) if data.startswith(b"{") else {}
        self.server.received.append((self.path, body))
        return body

    def do_POST(self) -> None:
        body = self._kept()
        if "/runs" in self.path:
            self._send_json({})
            return
        answer = next(self.server.script, None) or self.server.answer
        is_stream = bool(body.get("stream"))
        if self.path.endswith("/chat/completions"):
            self._send(_chunks(answer, body)) if is_stream else self._send_json(_completion(answer))
        elif self.path.endswith("/responses"):
            self._send(_response_events(answer)) if is_stream else self._send_json(_response(answer))
        elif "/messages" in self.path:
            self._send(_message_events(answer)) if is_stream else self._send_json(_message(answer))
        elif self.path.endswith("/converse"):
            self._send_json(_converse(answer))
        elif self.path.endswith("/converse-stream"):
            data = b"".join(_frame(event) for event in _converse_events(answer))
            self._send_bytes(data, "application/vnd.amazon.eventstream")
        elif ":generateContent" in self.path:
            self._send_json(_generated(answer))
        elif ":streamGenerateContent" in self.path:
            self._send([_generated(answer)])
        else:
            self._send_json({})

    def _send_json(self, value: Any) -> None:
        self._send_bytes(json.dumps(value).encode(), "application/json")

    def _send(self, events: list[dict[str, Any]]) -> None:
        text = ""
        for event in events:
            text += f"event: {event['type']}\n" if "type" in event else ""
            text += f"data: {json.dumps(event)}\n\n"
        end = "data: [DONE]\n\n" if events and "choices" in events[0] else ""
        self._send_bytes((text + end).encode(), "text/event-stream")

    def _send_bytes(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _completion(answer: dict[str, Any]) -> dict[str, Any]:
    finish = "tool_calls" if answer.get("tool_calls") else "stop"
    return {
        **{
            "id": f"chatcmpl-{next(_NUMBERS)}",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": "scripted",
        },
        "choices": [{"index": 0, "message": answer, "finish_reason": finish}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
    }


def _chunks(answer: dict[str, Any], body: dict[str, Any]) -> list[dict[str, Any]]:
    text, deltas = answer["content"] or "", list[dict[str, Any]]()
    deltas.append({"role": "assistant", "content": ""})
    deltas += [{"content": piece} for piece in (text[:5], text[5:]) if piece]
    for index, call in enumerate(answer.get("tool_calls") or []):
        arguments = call["function"]["arguments"]
        begun = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        for piece in (arguments[:7], arguments[7:]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    base = {
        "id": f"chatcmpl-{next(_NUMBERS)}",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "scripted",
    }
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    finish = "tool_calls" if answer.get("tool_calls") else "stop"
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append(
            {**base, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}}
        )
    return chunks


def _response(answer: dict[str, Any]) -> dict[str, Any]:
    output = list[dict[str, Any]]()
    if answer["content"]:
        part = {"type": "output_text", "text": answer["content"], "annotations": []}
        output.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
    for number, name, arguments in _pairs(answer):
        called = {"call_id": number, "name": name, "arguments": json.dumps(arguments), "status": "completed"}
        output.append({"type": "function_call", "id": f"fc_{number}", **called})
    return {
        **{
            "id": f"resp_{next(_NUMBERS)}",
            "object": "response",
            "created_at": 1_760_000_000,
            "model": "scripted",
            "status": "completed",
        },
        **{"output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None},
        "usage": {
            **{"input_tokens": 9, "output_tokens": 9, "total_tokens": 18},
            **{"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
        },
    }


def _response_events(answer: dict[str, Any]) -> list[dict[str, Any]]:
    whole = _response(answer)
    events = [{"type": "response.created", "response": {**whole, "output": [], "status": "in_progress"}}]
    for index, item in enumerate(whole["output"]):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if item["type"] == "message":
            text = {"item_id": item["id"], "output_index": index, "content_index": 0, "logprobs": []}
            events.append({"type": "response.output_text.delta", **text, "delta": item["content"][0]["text"]})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _message(answer: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": answer["content"]}] if answer["content"] else []
    content += [
        {"type": "tool_use", "id": number, "name": name, "input": data} for number, name, data in _pairs(answer)
    ]
    return {
        **{
            "id": f"msg_{next(_NUMBERS)}",
            "type": "message",
            "role": "assistant",
            "model": "scripted",
            "content": content,
        },
        **{"stop_reason": "tool_use" if answer.get("tool_calls") else "end_turn", "stop_sequence": None},
        "usage": {"input_tokens": 9, "output_tokens": 9},
    }


def _message_events(answer: dict[str, Any]) -> list[dict[str, Any]]:
    whole = _message(answer)
    begun = {**whole, "content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            empty, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        else:
            text = json.dumps(block["input"])
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:4], text[4:])]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}})
    return [*events, {"type": "message_stop"}]


def _converse(answer: dict[str, Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"text": answer["content"]}] if answer["content"] else []
    content += [
        {"toolUse": {"toolUseId": number, "name": name, "input": data}} for number, name, data in _pairs(answer)
    ]
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use" if answer.get("tool_calls") else "end_turn",
        "usage": {"inputTokens": 9, "outputTokens": 9, "totalTokens": 18},
        "metrics": {"latencyMs": 1},
    }


def _converse_events(answer: dict[str, Any]) -> list[dict[str, Any]]:
    whole = _converse(answer)
    events: list[dict[str, Any]] = [{"messageStart": {"role": "assistant"}}]
    for index, block in enumerate(whole["output"]["message"]["content"]):
        here = {"contentBlockIndex": index}
        if "text" in block:
            events.append({"contentBlockDelta": {"delta": {"text": block["text"]}, **here}})
        else:
            use = block["toolUse"]
            begun = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            events.append({"contentBlockStart": {"start": begun, **here}})
            events.append({"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(use["input"])}}, **here}})
        events.append({"contentBlockStop": here})
    end = {"usage": whole["usage"], "metrics": whole["metrics"]}
    return [*events, {"messageStop": {"stopReason": whole["stopReason"]}}, {"metadata": end}]


def _frame(event: dict[str, Any]) -> bytes:
    """Return an event in the frames of AWS's event streams."""
    ((kind, value),) = event.items()
    payload, headers = json.dumps(value).encode(), b""
    for name, text in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def _generated(answer: dict[str, Any]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": answer["content"]}] if answer["content"] else []
    parts += [{"functionCall": {"id": number, "name": name, "args": data}} for number, name, data in _pairs(answer)]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 18}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "scripted"}

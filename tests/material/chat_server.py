"""A small OpenAI-compatible server on loopback, that a test tells what to answer."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One HTTP answer; a body that is no string is sent as JSON.

    With `hang` nothing comes until the server closes, with `drip` a byte every twentieth of a second.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drip: bool = False


def says(content: Any, finish_reason: str = "stop", **message: Any) -> Answer:
    """A chat completion with this text."""
    choice = {
        "index": 0,
        "finish_reason": finish_reason,
        "message": {"role": "assistant", "content": content} | message,
    }
    return Answer({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


def calls(*functions: tuple[str, Any]) -> Answer:
    """A chat completion that calls these tools; the arguments are given as they are sent."""
    tool_calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(functions)
    ]
    return says(None, "tool_calls", tool_calls=tool_calls)


def label(name: str) -> Answer:
    return says(json.dumps({"classification": name}))


class ChatServer(ThreadingHTTPServer):
    """`requests` are the bodies that came, `keys` their Authorization headers, `most_at_once` what came together."""

    daemon_threads = True

    def __init__(self, reply: Callable[[dict[str, Any]], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_at_once = self.at_once = 0
        self.lock, self.closing = threading.Lock(), threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.keys.append(self.headers["Authorization"])
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            assert self.path == "/v1/chat/completions"
            answer = self.server.reply(body)
            if answer.hang:
                self.server.closing.wait(30)
        finally:
            with self.server.lock:
                self.server.at_once -= 1
        data = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(data), 1 if answer.drip else len(data)):
            self.wfile.write(data[start : start + 1] if answer.drip else data)
            self.server.closing.wait(0.05 if answer.drip else 0)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""


@contextmanager
def serving(reply: Callable[[dict[str, Any]], Answer]) -> Iterator[ChatServer]:
    """A server whose `reply` is asked for every request, in many threads."""
    with ChatServer(reply) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def in_turn(*answers: Answer) -> Callable[[dict[str, Any]], Answer]:
    """These answers one after the other; the last one for ever."""
    left, lock = list(answers), threading.Lock()

    def reply(body: dict[str, Any]) -> Answer:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return reply

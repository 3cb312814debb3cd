"""The HTTP of `/v1/models` and `/v1/chat/completions`, for this machine alone, and a page at `/`.

Whoever else asks is refused: the socket is bound to 127.0.0.1, and a page of another site, which a browser on this
machine may have open, is told by the request's own `Origin` and `Host`.
"""

import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from calltune.errors import CalltuneError, ConfigError
from calltune.models.backends import OpenedBackend
from calltune.models.backends.streaming import speak
from calltune.models.serve.replies import Reply
from calltune.models.serve.requests import ChatRequest, RequestError, read_request
from calltune.types import Completion, Sample

ADDRESS = "127.0.0.1"
_MOST_BYTES = 2**24
"""Of a request; a million tokens are fewer."""


class ChatServer(ThreadingHTTPServer):
    """Checkpoints by their names, one of which answers at a time."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        backends: Mapping[str, OpenedBackend],
        port: int,
        *,
        room: int,
        thinking: bool | None = None,
        page: bytes = b"",
        policy: str = "default-src 'none'",
    ) -> None:
        """Listen on a port of 127.0.0.1; 0 takes any that is free.

        Args:
            room: how many tokens an answer may have where a request does not say.
            thinking: whether the models think before they answer; None where nothing is said of it.
            page: what is shown at `/`, with its content security policy.

        Raises:
            ConfigError: the port cannot be listened on.
        """
        self.backends, self.room, self.thinking, self.page, self.policy = backends, room, thinking, page, policy
        self.turn, self.closing = threading.Lock(), threading.Event()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"--port {port}: {reason[0].lower()}{reason[1:]}; --port 0 takes a free one") from None

    def server_bind(self) -> None:
        """Bind without asking a name server what the machine is called."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def server_close(self) -> None:
        """Close when the model has written its token: torch aborts a program that ends while it computes."""
        self.closing.set()
        # It is never given back, so that nobody who waits begins.
        self.turn.acquire()
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it at that when a client has gone away; anything else is a fault, and is told with its traceback."""
        if not isinstance(sys.exception(), ConnectionError | _ClosingError):
            super().handle_error(request, client_address)


class _ClosingError(Exception):
    """The server closes while an answer is written."""


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""

    def do_GET(self) -> None:
        """The page, or the list of models."""
        if not self._is_ours():
            return
        if self.path == "/":
            self._send(self.server.page, "text/html; charset=utf-8")
        elif self.path == "/v1/models":
            models = [
                {"id": name, "object": "model", "created": 0, "owned_by": "calltune"} for name in self.server.backends
            ]
            self._send_json({"object": "list", "data": models})
        else:
            self._refuse(RequestError(f"there is nothing at {self.path}", status=404))

    def do_POST(self) -> None:
        """An answer."""
        try:
            # Read whoever asks: a socket that is closed on unread bytes may swallow the answer.
            body = self._body()
            if not self._is_ours():
                return
            if self.path != "/v1/chat/completions":
                raise RequestError(f"there is nothing at {self.path}", status=404)
            request = read_request(body)
            if request.model not in self.server.backends:
                there = ", ".join(self.server.backends)
                raise RequestError(f"there is no model '{request.model}' (there are: {there})", "model", 404)
            self._answer(request)
        except RequestError as error:
            self._refuse(error)

    def _is_ours(self) -> bool:
        """Whether a request comes from this machine and from no other site's page; it is refused else."""
        hosts = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}
        origin = self.headers.get("Origin")
        if self.headers.get("Host") in hosts and (origin is None or origin in {f"http://{host}" for host in hosts}):
            return True
        self._refuse(RequestError("only this machine may ask", status=403))
        return False

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RequestError("the request does not say its length", status=411)
        if int(length) > _MOST_BYTES:
            raise RequestError(f"the request has more than {_MOST_BYTES:,} bytes", status=413)
        return self.rfile.read(int(length))

    def _answer(self, request: ChatRequest) -> None:
        server = self.server
        backend = server.backends[request.model]
        sample = Sample("request", "request", request.messages, request.tools, None)
        room = request.max_tokens or server.room
        reply = Reply(request.model, holds_all=bool(server.thinking))
        is_begun = False

        def hear(text: str) -> None:
            nonlocal is_begun
            if server.closing.is_set():
                raise _ClosingError
            if not request.stream:
                return
            if not is_begun:
                self._begin_stream()
                is_begun = True
            self._event(reply.piece(text))

        try:
            with server.turn:
                completion = speak(backend, sample, room, hear, server.thinking)
        except CalltuneError as error:
            # Its template refuses such a conversation, for instance.
            if is_begun:
                self._event({"error": {"message": str(error), "type": "server_error", "param": None, "code": None}})
                return
            raise RequestError(str(error), "messages") from error
        if completion.status == "error" and not is_begun:
            raise RequestError(completion.reason, status=500)
        if not request.stream:
            self._send_json(reply.whole(completion, _usage(backend, sample, completion, server.thinking)))
            return
        if not is_begun:
            self._begin_stream()
        usage = _usage(backend, sample, completion, server.thinking) if request.wants_usage else None
        for chunk in reply.rest(completion, usage):
            self._event(chunk)
        self.wfile.write(b"data: [DONE]\n\n")

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(value, allow_nan=False)}\n\n".encode())
        self.wfile.flush()

    def _send_json(self, value: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(value, allow_nan=False).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        headers |= {"Content-Security-Policy": self.server.policy, "X-Content-Type-Options": "nosniff"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, error: RequestError) -> None:
        kind = "server_error" if error.status == 500 else "invalid_request_error"
        said = {"message": str(error), "type": kind, "param": error.param, "code": None}
        self._send_json({"error": said}, error.status)


def _usage(
    backend: OpenedBackend, sample: Sample, completion: Completion, thinking: bool | None
) -> dict[str, int] | None:
    """Tokens of the prompt and, counted anew of its text, of the answer; None where a server of its own writes them."""
    if backend.chat is None:
        return None
    chat = backend.chat.in_mode(bool(thinking))
    prompt = len(chat.tokenizer(chat.prompt(sample.messages, sample.tools)).input_ids)
    answer = len(chat.tokenizer(completion.text, add_special_tokens=False).input_ids)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}

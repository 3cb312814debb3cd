"""Checkpoints behind OpenAI's interface, asked by OpenAI's own client."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from calltune.calling.schema import normalize_tools
from calltune.models.backends.hf import Backend
from calltune.models.serve.server import ChatServer
from calltune.types import Message, Sample

WARM = Path(__file__).parents[3] / "examples" / "tiny-qwen3"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "The weather in a city.", "parameters": PARAMETERS},
    }
]
QUESTIONS = ("What is the weather in Paris?", "Thank you, that is all.")
PAGE = b"<!doctype html><title>A page</title>"


@pytest.fixture(scope="module")
def backend() -> Backend:
    return Backend(str(WARM), 2048)


@pytest.fixture(scope="module")
def server(backend: Backend) -> Iterator[ChatServer]:
    with ChatServer({"base": backend, "sft": backend}, 0, room=48, page=PAGE) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: ChatServer) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def ask(server: ChatServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body), headers)
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, text


def test_its_models_are_the_checkpoints(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["base", "sft"]


def test_it_answers_as_the_backend_does_whole_and_in_pieces(client: openai.OpenAI, backend: Backend) -> None:
    called = 0
    for question in QUESTIONS:
        asked = Sample("q", "q", (Message("user", question),), normalize_tools(TOOLS, "tools"), None)
        (expected,) = backend.answer([asked], 48)
        messages: Any = [{"role": "user", "content": question}]
        whole = client.chat.completions.create(model="sft", messages=messages, tools=TOOLS)
        said = whole.choices[0].message
        calls = [(call.function.name, json.loads(call.function.arguments)) for call in said.tool_calls or []]  # type: ignore[union-attr]
        if expected.message:
            assert calls == [(call.name, call.arguments) for call in expected.message.tool_calls]
            assert (said.content or "") == expected.message.content.strip()
        else:
            assert said.content == expected.text.strip()
        assert whole.usage
        assert whole.usage.prompt_tokens > 20
        assert whole.model_extra is not None
        assert whole.model_extra["calltune"]["status"] == expected.status
        chunks = list(client.chat.completions.create(model="sft", messages=messages, tools=TOOLS, stream=True))
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert "".join(delta.content or "" for delta in deltas) == (said.content or "")
        named = [call.function for delta in deltas for call in delta.tool_calls or [] if call.function]
        assert [(call.name, json.loads(call.arguments or "")) for call in named] == calls
        assert [c.choices[0].finish_reason for c in chunks][-1] == whole.choices[0].finish_reason
        raw = "".join((chunk.model_extra or {}).get("calltune", {}).get("text", "") for chunk in chunks)
        assert raw == expected.text
        called += bool(calls)
    assert called, "none of the questions made the model call"


def test_it_goes_on_after_a_result(client: openai.OpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": QUESTIONS[0]}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rain."},
    ]
    answer = client.chat.completions.create(
        model="base", messages=messages, tools=TOOLS, max_tokens=3, tool_choice="none", temperature=0
    )
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "gpt"}, "there is no model 'gpt' (there are: base, sft)"),
        ({"temperature": 0.7}, "leave 'temperature' out, or set it to 0"),
        ({"tool_choice": "required"}, "'tool_choice' must be"),
        ({"stop": ["."]}, "'stop' is not known here"),
        ({"max_tokens": 0}, "'max_tokens' must be a whole number of 1 or more"),
        ({"messages": []}, "'messages' must end with the user's message or a tool's"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0]: 'role' must be one of"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "parts of the type text"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}, "JSON"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]}, "only the assistant has 'tool_calls'"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"stream": "yes"}, "'stream' must be of the type bool"),
    ],
)
def test_what_cannot_be_honoured_is_refused(server: ChatServer, changes: dict[str, Any], words: str) -> None:
    body = {"model": "base", "messages": [{"role": "user", "content": "Hi."}], **changes}
    status, text = ask(server, "POST", "/v1/chat/completions", body)
    assert status == (404 if "model" in changes else 400)
    assert words in json.loads(text)["error"]["message"]


def test_nobody_else_may_ask(server: ChatServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    here = f"127.0.0.1:{server.server_port}"
    assert ask(server, "GET", "/") == (200, PAGE)
    assert ask(server, "GET", "/", Origin=f"http://{here}")[0] == 200
    assert ask(server, "GET", "/v1/models", Origin="https://example.org")[0] == 403
    assert ask(server, "GET", "/v1/models", Host="example.org")[0] == 403
    assert ask(server, "POST", "/v1/chat/completions", b"{}", Origin="null")[0] == 403
    assert ask(server, "POST", "/v1/chat/completions", b"not json")[0] == 400
    assert ask(server, "POST", "/v1/completions", b"{}")[0] == 404
    assert ask(server, "GET", "/etc/passwd")[0] == 404

"""A chat template is a program of the model's: whatever it does is one line, and it comes to an end."""

import threading
import time
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from calltune.calling import rendering
from calltune.calling.chat import Chat
from calltune.calling.template_proof import Proof
from calltune.errors import ModelError, TemplateLimitError
from calltune.types import Example, Message, Tool

GOOD = (
    "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def with_template(tiny_model: Path, template: str):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ 1 / 0 }}", "refuses a conversation: ZeroDivisionError: division by zero"),
        ("{{ 2.0 ** 99999 }}", "refuses a conversation: OverflowError"),
        ("{% for i in range(10**9) %}{% endfor %}", "refuses a conversation: OverflowError: Range too big"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "refuses a conversation: RecursionError"),
        ("{{ messages.nothing.more }}", "refuses a conversation: 'list object' has no attribute 'nothing'"),
        ("{{ 'a'.center('b') }}", "refuses a conversation: "),
        ("{% if %}", "refuses a conversation: "),
    ],
)
def test_whatever_a_template_raises_is_one_line(tiny_model: Path, template: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as error:
        Chat(with_template(tiny_model, template), "toy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (ENDLESS, "does not come to an end within 10 seconds"),
        ("{{ '%999999999d' | format(1) }}", "(takes more than 1 GB of memory|to no end|refuses a conversation)"),
        ("{{ 'a' * 10**10 }}", "takes more than 1 GB of memory"),
        ("{{ 'a' * messages | length * 10**8 }}", "writes more than 33,554,432 characters"),
    ],
)
def test_a_template_that_would_take_the_machine_is_refused(tiny_model: Path, template: str, message: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ModelError, match=f"model 'toy': its chat template .*{message}"):
        Chat(with_template(tiny_model, template), "toy")
    assert time.monotonic() - begun < 30


def test_a_row_that_sends_a_template_into_a_loop_ends_what_asked_it(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its proof cannot see what only the content of one row leads to."""
    monkeypatch.setattr(rendering, "SECONDS", 0.5)
    loop = "{% if 'again' in messages[0].content %}" + ENDLESS + "{% endif %}"
    chat = Chat(with_template(tiny_model, loop + GOOD), "toy")
    tool = Tool("f", "F.", {"type": "object", "properties": {}})
    assert chat.prompt([Message("user", "once")], [tool])
    messages = (Message("user", "again"), Message("assistant", "No."))
    begun = time.monotonic()
    with pytest.raises(TemplateLimitError, match="took more than 0 seconds for one conversation"):
        Proof(chat).row(Example("1", "toy", messages, (tool,), "direct"))
    assert time.monotonic() - begun < 20
    # And nothing of the clock is left behind.
    assert chat.prompt([Message("user", "once")], [tool])


def test_a_row_that_makes_a_template_write_without_end(tiny_model: Path) -> None:
    long = "{% if 'more' in messages[0].content %}{{ 'a' * 40000000 }}{% endif %}"
    chat = Chat(with_template(tiny_model, long + GOOD), "toy")
    with pytest.raises(TemplateLimitError, match="writes more than 33,554,432 characters"):
        chat.prompt([Message("user", "more")], [])


def test_another_thread_writes_the_same(tiny_model: Path) -> None:
    """Python takes signals in its main thread alone, so there is no clock, and no error for the lack of it."""
    chat = Chat(with_template(tiny_model, GOOD), "toy")
    written: list[str] = []
    thread = threading.Thread(target=lambda: written.append(chat.prompt([Message("user", "q")], [])))
    thread.start()
    thread.join()
    assert written == [chat.prompt([Message("user", "q")], [])]

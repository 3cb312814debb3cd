"""An OpenAI-compatible server: chat completions with retries, back-off, a bound on concurrency, a budget of requests.

The `openai` package makes each request; its own retries are off, because every try must be counted, and its time-out
bounds only the gaps between bytes, where a request here may take so long and no longer.
"""

import asyncio
import contextlib
import email.utils
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from calltune.config.endpoint import EndpointConfig
from calltune.config.secrets import HIDDEN, conceal
from calltune.errors import ConfigError, ModelError

_LONGEST_BACKOFF_SECONDS = 60.0

_LONGEST_RETRY_AFTER_SECONDS = 120.0

# Time-outs and conflicts that the server itself calls passing; 5xx are, too.
_PASSING = frozenset({408, 409, 425, 429})

# Wrong for every request alike: the key, the account, the model's name or the address.
_FATAL = frozenset({401, 402, 404})

_Item = TypeVar("_Item")

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Reply:
    """The message of a chat completion as the server sent it, or None, and then `reason` says why there is none."""

    message: Mapping[str, Any] | None
    finish_reason: str
    reason: str
    num_requests: int


class _Failed(Exception):
    """One try did not work; `again` says whether another may."""

    def __init__(self, reason: str, *, again: bool, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait_seconds = reason, again, wait_seconds


def read_api_key(settings: EndpointConfig) -> str | None:
    """The key, or None where none is named; what must be there before a server is asked is checked on the way.

    Raises:
        ConfigError: the named variable is not set, or the package `openai` is not installed.
    """
    if find_spec("openai") is None:
        raise ConfigError("asking a server needs the package 'openai', which is not installed: calltune[judge] has it")
    if settings.api_key_env is None:
        return None
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise ConfigError(f"the environment variable '{settings.api_key_env}' is not set (api_key_env names it)")
    return key


class Endpoint:
    """One server and what was asked of it."""

    def __init__(self, settings: EndpointConfig, num_requests: int = 0) -> None:
        """Prepare; nothing is sent yet.

        Args:
            num_requests: those that earlier runs have taken from the budget.

        Raises:
            ConfigError: as `read_api_key` does.
        """
        self.num_requests = num_requests
        self._settings = settings
        self._key = read_api_key(settings)
        self._client: Any = None
        self._not_before = 0.0

    def each(
        self,
        items: Sequence[_Item],
        work: Callable[[_Item], Awaitable[_Result]],
        done: Callable[[_Item, _Result], bool | None],
    ) -> None:
        """Do `work`, which may `ask`, on every item, some at once.

        Args:
            items: what is to be done, begun in this order.
            work: one request or several.
            done: called with each result as it comes; when it says True, no further item is begun.

        Raises:
            ModelError: the server refuses every request: key, account, model or address are wrong.
            Exception: whatever `work` or `done` raise; what is still under way is then given up.
        """
        left = list(reversed(items))

        async def take() -> None:
            while left:
                item = left.pop()
                if done(item, await work(item)):
                    left.clear()

        async def take_all() -> None:
            async with self._open():
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(self._settings.concurrency, len(items))):
                            group.create_task(take())
                except BaseExceptionGroup as several:
                    # The first one made the others stop.
                    raise several.exceptions[0] from None

        asyncio.run(take_all())

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """A chat completion, tried again as the settings say. A failure is a `Reply` without a message.

        Args:
            body: the request's `model`, `messages` and options, as OpenAI's API names them.

        Raises:
            ModelError: the server refuses every request: key, account, model or address are wrong.
        """
        num_requests, reason = 0, ""
        for number in range(self._settings.max_tries):
            if number:
                await asyncio.sleep(self._backoff(number))
            while (wait := self._not_before - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if self._settings.max_requests is not None and self.num_requests >= self._settings.max_requests:
                budget = f"the budget of {self._settings.max_requests} requests (max_requests) is used up"
                return Reply(None, "", f"{budget}; before: {reason}" if reason else budget, num_requests)
            self.num_requests += 1
            num_requests += 1
            try:
                message, finish_reason = _first_choice(await self._text(body))
                return Reply(message, finish_reason, "", num_requests)
            except _Failed as failure:
                reason = self._hide(failure.reason)
                if not failure.again:
                    break
                # "Too many requests" is meant for all that would follow, not for this one alone.
                self._not_before = max(self._not_before, time.monotonic() + failure.wait_seconds)
        return Reply(None, "", f"{reason} ({num_requests} tries)" if num_requests > 1 else reason, num_requests)

    async def _text(self, body: Mapping[str, Any]) -> str:
        """The body that the server answers one try with; `_Failed` when it does not."""
        import openai

        options = {key: value for key, value in body.items() if key not in ("model", "messages")}
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                reply = await self._client.chat.completions.with_raw_response.create(
                    model=body["model"],
                    messages=body["messages"],
                    extra_body={**options, **self._settings.extra_body},
                )
                return reply.text
        except (TimeoutError, openai.APITimeoutError):
            raise _Failed(f"no reply within {self._settings.timeout_seconds:g} s", again=True) from None
        except openai.APIConnectionError as error:
            raise _Failed(f"no connection: {error.__cause__ or error}", again=True) from None
        except openai.APIStatusError as error:
            status = error.status_code
            reason = f"HTTP {status}: {_server_message(error.body) or error.message}"
            if status in _FATAL or error.code == "insufficient_quota":
                raise ModelError(f"{self._settings.base_url}, model '{body['model']}': {self._hide(reason)}") from None
            wait = _retry_after(error.response.headers.get("retry-after"))
            if wait > _LONGEST_RETRY_AFTER_SECONDS:
                raise _Failed(f"{reason}; to be tried again in {wait:.0f} s only", again=False) from None
            raise _Failed(reason, again=status in _PASSING or status >= 500, wait_seconds=wait) from None
        except UnicodeEncodeError:
            raise _Failed("the request's text is not Unicode and cannot be sent", again=False) from None

    def _backoff(self, number: int) -> float:
        longest = min(self._settings.backoff_seconds * 2 ** (number - 1), _LONGEST_BACKOFF_SECONDS)
        # Half of it at random, so that requests which failed together do not come back together.
        return longest * random.uniform(0.5, 1.0)

    def _hide(self, text: str) -> str:
        # Servers repeat what they were sent.
        if self._key:
            text = text.replace(self._key, HIDDEN)
        # Megabytes may have come.
        line = " ".join(conceal(text[:10_000]).split())
        return line if len(line) <= 200 else f"{line[:200]}..."

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        import openai

        # Without a key of its own the package would send OPENAI_API_KEY to whatever server this is.
        async with openai.AsyncOpenAI(
            base_url=self._settings.base_url,
            api_key=self._key or "none",
            timeout=self._settings.timeout_seconds,
            max_retries=0,
        ) as self._client:
            yield


def _first_choice(text: str) -> tuple[Mapping[str, Any], str]:
    """Message and finish reason of a chat completion's first choice."""
    try:
        choice = json.loads(text)["choices"][0]
        message, finish_reason = choice["message"], choice.get("finish_reason")
    except (ValueError, RecursionError):
        raise _Failed(f"the reply is not JSON: {text!r}", again=True) from None
    except (AttributeError, IndexError, KeyError, TypeError):
        message, finish_reason = None, None
    if not isinstance(message, dict):
        raise _Failed(f"the reply holds no message: {text!r}", again=True)
    return message, str(finish_reason or "")


def message_text(message: Mapping[str, Any]) -> str:
    """The words of a message: its `content`, a string or a list of parts, or else OpenAI's `refusal`."""
    content = message.get("content") or message.get("refusal")
    if isinstance(content, list):
        return "".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return content if isinstance(content, str) else ""


def _server_message(body: object) -> str:
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) else ""


def _retry_after(value: str | None) -> float:
    """Seconds from a `Retry-After` header, which holds seconds or a date; 0 when it says nothing readable."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return 0.0
    return seconds if seconds > 0 else 0.0

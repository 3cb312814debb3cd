"""The keys that say where an OpenAI-compatible server is and how hard it may be pressed. Several tables hold them."""

import re
from typing import Annotated, Any

import pydantic

from calltune.config.table import Table
from calltune.errors import ConfigError


class EndpointConfig(Table):
    """Where a server is and how hard it may be pressed.

    The keys that say where and how fast are left out of `model_dump`, so that work begun elsewhere or slower is
    continued.
    """

    base_url: Annotated[str, pydantic.Field(exclude=True)]
    """The server's address, up to and including the version, such as `https://api.openai.com/v1` or
    `http://localhost:8000/v1`."""

    api_key_env: Annotated[str | None, pydantic.Field(exclude=True)] = None
    """Name of the environment variable that holds the key. Without it no key is sent."""

    extra_body: Annotated[dict[str, Any], pydantic.Field(default_factory=dict)]
    """Keys that go word for word into every request, such as `{ chat_template_kwargs = { enable_thinking = false }
    }`."""

    timeout_seconds: Annotated[float, pydantic.Field(gt=0, exclude=True)] = 120.0
    """A try has failed when it takes longer than this, from its start to its last byte."""

    max_tries: Annotated[int, pydantic.Field(ge=1, exclude=True)] = 6
    """How often a request is tried that meets a time-out, no connection, HTTP 408, 409, 425, 429, 5xx, or a reply
    without a message."""

    backoff_seconds: Annotated[float, pydantic.Field(ge=0, exclude=True)] = 1.0
    """The longest wait before the second try. It doubles with each further try, up to a minute. `Retry-After` is
    obeyed."""

    concurrency: Annotated[int, pydantic.Field(ge=1, exclude=True)] = 8
    """How many requests may be under way at once."""

    max_requests: Annotated[int | None, pydantic.Field(ge=1, exclude=True)] = None
    """The budget of requests, in which every try counts. What is asked beyond it fails."""

    # Pydantic's own message would print the value, which may be a secret. A ConfigError passes through pydantic as it
    # is.
    @pydantic.field_validator("api_key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ConfigError(
                "'api_key_env' must be the name of an environment variable, such as OPENAI_API_KEY, not a key"
            )
        return name

    @pydantic.field_validator("base_url")
    @classmethod
    def _is_bare(cls, url: str) -> str:
        if re.search(r"[@?#]", url):
            raise ConfigError("'base_url' must not hold a user, a password or a query; name the key's variable instead")
        if not re.match(r"https?://[^/\s]+\S*$", url):
            raise ValueError("must be an http:// or https:// address")
        return url

"""Where an OpenAI-compatible server is, and how hard it may be pressed: a table that several others hold."""

import re
from typing import Annotated, Any

import pydantic

from calltune.config.table import Table
from calltune.errors import ConfigError


class EndpointConfig(Table):
    """Where a server is and how hard it may be pressed.

    What says where and how fast is left out of `model_dump`, so that work begun elsewhere or slower is continued.
    """

    base_url: Annotated[str, pydantic.Field(exclude=True)]
    """Up to and with the version, such as `https://api.openai.com/v1` or `http://localhost:8000/v1`."""

    api_key_env: Annotated[str | None, pydantic.Field(exclude=True)] = None
    """Name of the environment variable that holds the key; without it none is sent."""

    extra_body: Annotated[dict[str, Any], pydantic.Field(default_factory=dict)]
    """Goes word for word into every request, such as `{ chat_template_kwargs = { enable_thinking = false } }`."""

    timeout_seconds: Annotated[float, pydantic.Field(gt=0, exclude=True)] = 120.0
    """A try that takes longer, from its start to its last byte, has failed."""

    max_tries: Annotated[int, pydantic.Field(ge=1, exclude=True)] = 6
    """Of a request that meets a time-out, no connection, HTTP 408, 409, 425, 429, 5xx, or a reply without a message."""

    backoff_seconds: Annotated[float, pydantic.Field(ge=0, exclude=True)] = 1.0
    """Longest wait before the second try; it doubles with each further one, up to a minute. `Retry-After` is kept."""

    concurrency: Annotated[int, pydantic.Field(ge=1, exclude=True)] = 8
    """Requests under way at once."""

    max_requests: Annotated[int | None, pydantic.Field(ge=1, exclude=True)] = None
    """The budget: all tries count. What is asked beyond it fails."""

    # A ConfigError passes through pydantic, whose own message would print what was given: perhaps a secret.
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

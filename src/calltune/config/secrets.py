"""A run file holds no secret, and no message shows one: the one rule of what counts as a secret.

Every run's folder keeps a copy of its run file; hashes, pages, MLflow and jobs are made of it. So what looks like a
secret is refused where the run file is read, before anything is written, by its key alone: `refuse_secrets`. What
reaches a user from elsewhere (a server's words, a traceback, a command line) goes through `conceal`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from calltune.errors import ConfigError

HIDDEN = "***"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_SECRET_WORDS = frozenset(
    {"secret", "secrets", "password", "passwords", "passwd", "passphrase", "credential", "credentials"}
    | {"authorization", "apikey", "signature"}
)

_KEYS_OF = frozenset({"api", "access", "private", "secret", "account", "auth", "signing", "encryption", "ssh"})
"""A key of these is a secret. Others, such as `kms_key`, are names."""

_TOKENS_OF_A_VOCABULARY = frozenset(["pad", "eos", "bos", "unk", "mask", "sep", "cls", "image", "audio", "video"])

_COUNTS = frozenset(["max", "min", "num"])
"""A name that begins so and ends with `token` is a number's, misspelt, such as `max_new_token`."""

_POINTERS = frozenset(["env", "arn", "name", "file", "path", "folder", "id", "type"])
"""A name that ends so says where a secret is, or of which kind, and does not hold it."""

# How the tokens of well-known services begin, a signed JSON token, a header's value, and a private key.
_TOKEN = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        hf_[A-Za-z0-9]{16,}
      | sk-(?=[\w-]{,80}\d)[\w-]{16,}
      | (?:AKIA|ASIA)[A-Z0-9]{16}
      | gh[oprsu]_[A-Za-z0-9]{20,} | github_pat_\w{20,} | glpat-[\w-]{16,}
      | xox[abeprs]-[\w-]{10,} | AIza[\w-]{30,} | ya29\.[\w-]{20,}
      | pypi-[\w-]{20,} | npm_[A-Za-z0-9]{30,} | nvapi-[\w-]{20,} | dapi[0-9a-f]{32}
      | eyJ[\w-]{8,1000}\.[\w-]{8,}(?:\.[\w-]+)?
      | (?i:bearer|basic)\s+(?=\S{,80}\d)[\w.~+/=-]{16,}
      | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----[^-]*
    )""",
    re.VERBOSE,
)

# The second form is a password with a slash in it, which is told from a port.
_USER = re.compile(
    r"(?<![\w+.-])([A-Za-z][\w+.-]*://)([^\s/?#@'\"]{1,500}|[^\s/@:'\"]{1,100}:(?!\d*(?:[/?#\s]|$))[^\s@'\"]{,500})@",
)

_IN_QUERY = re.compile(r"[?&;]([\w.-]+)=[^&;#\s]")

_QUERY_VALUE = re.compile(r"[^&;#\s'\"<>)\]}]+")

_SCHEME = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\S+\s+")

# Name, what stands between, and value: of an assignment, of an option on a command line, and of a JSON object.
_ASSIGNED = (
    re.compile(r"""(?<![\w.-])([\w.-]+)(\s*=(?!=)\s*["']?)([^\s,;&'"]+)"""),
    re.compile(r"(?<![\w-])(--[\w-]+)(\s+)(\S+)"),
    re.compile(r"""(?<![\w.-])([\w.-]+)(["']\s*:\s*["'])([^"']+)"""),
)


def names_secret(name: str) -> bool:
    """Return whether what has this name is a secret: `hub_token`, `apiKey`, `AWS_SECRET_ACCESS_KEY`."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _POINTERS:
        return False
    if _SECRET_WORDS & set(words) or words[-1] in ("auth", "bearer", "sig"):
        return True
    before = words[-2] if len(words) > 1 else ""
    if words[-1] == "pwd":
        # Alone it is a shell's word for the folder that it is in.
        return bool(before)
    if words[-1] in ("key", "keys"):
        return before in _KEYS_OF
    return words[-1] == "token" and before not in _TOKENS_OF_A_VOCABULARY and words[0] not in _COUNTS


def holds_secret(text: str) -> bool:
    """Return whether a text holds a token of a well-known form, or an address with a password in it."""
    if _TOKEN.search(text) or any(_is_password(*found.groups()) for found in _USER.finditer(text)):
        return True
    return any(map(names_secret, _IN_QUERY.findall(text)))


def secret_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where a text holds a secret: a token without its scheme, a password of an address, a value of a query.

    Of an address the user's name is one as well. A span is (start, end); spans may overlap.
    """
    for match in _TOKEN.finditer(text):
        head = _SCHEME.match(match[0])
        yield match.start() + (head.end() if head else 0), match.end()
    for match in _USER.finditer(text):
        if _is_password(*match.groups()):
            user, _, password = match[2].partition(":")
            middle = match.start(2) + len(user)
            yield from ((match.start(2), middle), (middle + 1, match.end(2))) if password else (match.span(2),)
    for match in _IN_QUERY.finditer(text):
        if names_secret(match[1]):
            rest = _QUERY_VALUE.match(text, match.end() - 1)
            yield match.end() - 1, rest.end() if rest else match.end()


def refuse_secrets(table: Mapping[str, Any], where: str) -> None:
    """Refuse a table of a run file that holds a secret, under any key, at any depth.

    Args:
        where: what stands before the key in the message, such as the run file's name.

    Raises:
        ConfigError: names the key, never the value, and says where the secret belongs.
    """
    if key := next(_secret_keys(table, "", ""), None):
        raise ConfigError(f"{where}: '{conceal(key)}': a run file holds no secret; {_instead(key)}")


def conceal(text: str) -> str:
    """Return a text for a user to read, with `***` in the place of every secret in it.

    Secrets are what `holds_secret` finds, what is assigned to a secret's name, and the values of this process's
    environment that have such a name.
    """
    for name, value in os.environ.items():
        # A shorter one would blot out words that have nothing to do with it, and a path only says where a secret is.
        if len(value) >= 8 and names_secret(name) and not os.path.exists(value):
            text = text.replace(value, HIDDEN)
    text = _TOKEN.sub(HIDDEN, text)
    text = _USER.sub(lambda found: f"{found[1]}{HIDDEN}@" if _is_password(found[1], found[2]) else found[0], text)
    for pattern in _ASSIGNED:
        text = pattern.sub(_conceal_assigned, text)
    return text


def _conceal_assigned(found: re.Match[str]) -> str:
    name, between, value = found.groups()
    return f"{name}{between}{HIDDEN}" if names_secret(name) and not _is_arn(value) else found[0]


def _secret_keys(value: Any, name: str, path: str) -> Iterator[str]:
    """The dotted paths of secrets in nested tables and lists."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{path}.{key}".lstrip(".")
            if holds_secret(str(key)):
                yield here
            yield from _secret_keys(inner, str(key), here)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _secret_keys(inner, name, f"{path}.{number}")
    elif _is_secret(name, value):
        yield path


def _is_secret(name: str, value: Any) -> bool:
    if value in (None, "") or isinstance(value, bool) or _is_arn(value):
        return False
    return names_secret(name) or (isinstance(value, str) and holds_secret(value))


def _is_password(scheme: str, user: str) -> bool:
    """Whether what stands before the `@` of an address is to be kept: of a database a user alone may be named."""
    return ":" in user or scheme in ("http://", "https://")


def _is_arn(value: Any) -> bool:
    return isinstance(value, str) and re.match(r"arn:aws[a-z-]*:", value) is not None


def _instead(key: str) -> str:
    """Where the secret of a key belongs."""
    last = key.rpartition(".")[2]
    if last in ("hub_token", "hf_token", "push_to_hub_token"):
        return "set HF_TOKEN in the environment instead"
    if key.startswith("tracking."):
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment instead"
    if key.startswith("launch.sagemaker."):
        return "put it into Secrets Manager, and name that secret's ARN in 'launch.sagemaker.secret'"
    if "extra_body" in key or last in ("base_url", "api_key", "api_key_env"):
        return "put it into an environment variable, and name that variable in 'api_key_env'"
    return "set it in the environment instead"

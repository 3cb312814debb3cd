"""`calltune init`: a commented run file to begin with, and the tiny model where it names that.

The files are those of `examples/`; an installed package carries them, a checkout has them beside `src`.
"""

import shutil
from pathlib import Path

import calltune
from calltune.errors import ConfigError

TEMPLATES = {
    "quickstart": "quickstart.toml",
    "when2call": "when2call-qwen3-0.6b.toml",
    "traces": "traces.toml",
}

_MODEL = "tiny-qwen3"
_MODEL_LINE = f'model = "examples/{_MODEL}"'


def run(template: str, output: Path | None = None, force: bool = False) -> Path:
    """Write a run file, and say what to do with it.

    Args:
        output: by default the template's name, here.
        force: whether a file of that name may be overwritten.

    Returns:
        The run file.

    Raises:
        ConfigError: something of that name is there, or cannot be written.
    """
    path = output or Path(f"{template}.toml")
    text = (_examples() / TEMPLATES[template]).read_text(encoding="utf-8")
    # Without a checkout around it the run file brings its model along.
    model = path.parent / _MODEL if _MODEL_LINE in text and not Path("examples", _MODEL).is_dir() else None
    for wanted in filter(None, (path, model)):
        if wanted.exists() and not force:
            raise ConfigError(f"{wanted}: is there already; --force overwrites it, -o names another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if model:
            shutil.copytree(_examples() / _MODEL, model, dirs_exist_ok=True)
            text = text.replace(_MODEL_LINE, f'model = "{model.as_posix()}"', 1)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: cannot be written: {error.strerror}") from None
    print(f"wrote {path}" + (f", and its model into {model}" if model else ""))
    print(f"next: read it, then 'calltune check {path}', then 'calltune run {path}'")
    return path


def _examples() -> Path:
    package = Path(calltune.__file__).parent
    packaged = package / "examples"
    return packaged if packaged.is_dir() else package.parents[1] / "examples"

"""`calltune check`: all that can be known before time or money is spent; writes nothing."""

from itertools import islice
from pathlib import Path

from calltune.backends import BACKENDS
from calltune.config import Config
from calltune.evaluate import open_benchmarks
from calltune.family import load_module
from calltune.prepare import open_sources
from calltune.terminal import say
from calltune.types import Rejected

_ROWS_PROBED = 20


def run(config: Config) -> Path:
    """Check names and keys, the data's first rows, TRL's and PEFT's keys, and the model's template; say what holds.

    Returns:
        The run's folder, which is not touched.

    Raises:
        CalltuneError: the first thing that is wrong.
    """
    sources, benchmarks = open_sources(config), open_benchmarks(config)
    load_module("backend", BACKENDS, config.evaluate.backend)
    say(f"check: run file: {len(sources)} sources, stages {', '.join(config.stages) or 'none'}")
    from calltune.arguments import trl_arguments
    from calltune.tuning import check_tuning

    for stage in config.stages:
        trl_arguments(stage, config, config.run_folder / stage)
        check_tuning(config, stage)
    say(f"check: TRL and PEFT know every key of {', '.join(f'[{s}]' for s in (*config.stages, 'lora'))}")
    from calltune.chat import Chat
    from calltune.models import load_tokenizer

    chat = Chat(load_tokenizer(config.model, config.chat_template), config.model)
    say(f"check: the template of {config.model} writes tools and tool calls ({chat.call_format or 'unknown'} format)")
    for entry, module, settings in sources:
        rows = list(islice(module.read(settings), _ROWS_PROBED))
        wrong = [row for row in rows if isinstance(row, Rejected)]
        say(f"check: source {entry.name}: of its first {len(rows)} rows {len(rows) - len(wrong)} can be used")
        if wrong:
            say(f"check: the first that cannot: {wrong[0].reason}")
    for entry, module, settings in benchmarks:
        if str(config.run_folder) in str(getattr(settings, "path", "")):
            say(f"check: benchmark {entry.title}: asks what prepare will write")
            continue
        samples = list(islice(module.samples(settings), _ROWS_PROBED))
        say(f"check: benchmark {entry.title}: its first {len(samples)} questions can be read")
    return config.run_folder

"""The command line, `calltune VERB run.toml [key=value ...]`: parses words, imports one verb, tells mistakes."""

import argparse
import gc
import importlib
import logging
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from calltune.config.secrets import conceal
from calltune.runtime.allocator import keep_few_kernels, let_memory_grow
from calltune.runtime.threads import bound_threads
from calltune.verbs.parser import WRITES, Misspelt, build_parser
from calltune.verbs.words import ASK, is_late, split_question, try_options

_LASTING = ("try", "watch", "mcp")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0 when it went well, 2 when the user has something to mend, 3 when the gate is not passed, 4 when the
        guard stopped a stage, 130 when interrupted from the keyboard and 143 by SIGTERM: what was interrupted goes on
        when it is run again.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        words = _parsed(given)
    except Misspelt as mistake:
        if "--json" in given:
            from calltune.verbs.as_json import mistake_in_json, print_to

            print_to(sys.stdout, mistake_in_json(given[0], mistake.text, 2))
        raise
    if words is None:
        return 0
    # Set before any heavy import reads it: forked tokenizer threads only warn.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    bound_threads()
    let_memory_grow()
    keep_few_kernels()
    if arguments is None:
        sys.excepthook = _tell_traceback
    # PEFT imports bitsandbytes where it is installed, and on a CPU that warns of a kernel it would have to download.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    # PEFT 0.21 and TRL 1.16 ask transformers 5.23 by an old name; the user can do nothing about it.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
    command = shlex.join(["calltune", *map(conceal, given)])
    if "as_json" not in words or not words.as_json:
        return _run(words, command, is_program=arguments is None)
    from calltune.verbs.as_json import in_json

    with in_json(words.verb) as outcome:
        outcome.exit_code = _run(words, command, is_program=arguments is None)
    return outcome.exit_code


def _parsed(given: Sequence[str]) -> argparse.Namespace | None:
    """The words, or None where they asked for the shell's completion, which was printed.

    Raises:
        Misspelt: there is a mistake in them.
    """
    parser = build_parser()
    words, late = parser.parse_known_args(given)
    if words.verb == "completion" and not late:
        import shtab

        print(shtab.complete(parser, shell=words.shell))
        return None
    # argparse looks for no more overrides once an option came.
    if unknown := [w for w in late if w.startswith("-") or not is_late(w, words)]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if late:
        words.overrides += late
    return words


def _run(words: argparse.Namespace, command: str, *, is_program: bool) -> int:
    """Do what the words say, and return the exit code; a mistake is told in one line."""
    from calltune.errors import CalltuneError, GateError, GuardError
    from calltune.runtime import child
    from calltune.runtime.extras import line_for
    from calltune.runtime.stopping import Stopped, end_within_seconds, stoppable
    from calltune.runtime.told import tell_program

    def tell(text: str) -> None:
        print(f"calltune: {text}", file=sys.stderr)
        tell_program(error=text)

    def tell_how_to_go_on() -> None:
        if not child.is_child():
            # A server, and who only looks on, has nothing to go on with.
            tell("stopped" if words.verb in _LASTING else f"interrupted; '{command}' goes on from here")

    with stoppable(tell_how_to_go_on):
        try:
            _do(words, command)
        except CalltuneError as error:
            if child.is_child():
                child.tell("guard" if isinstance(error, GuardError) else "error", str(error))
            else:
                tell(conceal(str(error)))
            return 3 if isinstance(error, GateError) else 4 if isinstance(error, GuardError) else 2
        except ModuleNotFoundError as error:
            if not (line := line_for(words.verb, error)):
                raise
            tell(line)
            return 2
        except (KeyboardInterrupt, Stopped) as stop:
            tell_how_to_go_on()
            code = 128 + (stop.signal if isinstance(stop, Stopped) else signal.SIGINT)
            if is_program:
                # Threads that wait for a server, for instance.
                end_within_seconds(code)
            return code
    return 0


def _tell_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(conceal("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def _do(words: argparse.Namespace, command: str) -> None:
    """Do what the words say; `command` is what they were, without a secret in it."""
    if words.verb in ("audit", "list"):
        # They begin at once, as they need nothing of what is imported below.
        _load(words.verb).run(words.path, *([words.page] if "page" in words else []))
        return
    if words.verb == "mcp":
        _load("mcp").run(words.folder)
        return
    from calltune.config.run_file import load_config
    from calltune.config.run_folder import as_run_file
    from calltune.evaluation.jobs import open_benchmarks
    from calltune.files.disk import writing_to
    from calltune.files.owner import owning
    from calltune.launch import IN_PROCESSES
    from calltune.launch.local import launch
    from calltune.runtime import child
    from calltune.verbs import init

    if child.is_child():
        child.begin()
    if words.verb == "init":
        init.run(words.what, words.output, words.force, words.tools)
        return
    questions = split_question(words) if words.verb in ASK else []
    place = words.run_file, words.overrides
    config = load_config(*(as_run_file(*place) if words.verb == "report" else place))
    if config.model.endswith(".gguf"):
        from calltune.models.gguf_file import read_gguf

        with writing_to(Path(config.output)):
            config = config.model_copy(update={"model": str(read_gguf(Path(config.model), Path(config.output)))})
    if config.gate.rules:
        # Told before anything is paid for, whichever verb comes first.
        open_benchmarks(config)
    writes = (words.action if words.verb == "sagemaker" else words.verb) in WRITES
    with writing_to(config.run_folder), owning(config, command) if writes else nullcontext():
        if words.verb == "try":
            _load("try_").run(config, questions, **try_options(words))
        elif words.verb == "decide":
            _load("decide").run(config, questions, words.tools_file)
        elif words.verb == "watch":
            _load("watch").run(config, once=words.as_json)
        elif words.verb == "sagemaker" or words.on == "sagemaker" or words.dry_run or words.detach:
            _on_sagemaker(config, words)
        elif words.verb not in IN_PROCESSES or not launch(config, words.verb, *_rounds(config, words)):
            names = ("show_rows", "with_time", "round_number", "full")
            given = {name: vars(words)[name] for name in names if name in words}
            _load(words.verb).run(config, **given)
        if words.as_json:
            from calltune.verbs.as_json import tell_outcome

            tell_outcome(
                config, words.verb, **({"round_number": words.round_number} if "round_number" in words else {})
            )


def _load(verb: str) -> ModuleType:
    """The module of a verb. What it imports stays for good: nothing looks through that for garbage, now or later."""
    name = f"calltune.verbs.{verb}"
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def _rounds(config: Any, words: argparse.Namespace) -> list[str]:
    """The options that say which round of mining it is, for the processes that run the verb."""
    if "round_number" not in words:
        return []
    from calltune.errors import ConfigError

    if not 1 <= words.round_number <= config.num_rounds:
        raise ConfigError(f"--round {words.round_number}: the run file has {config.num_rounds} of them ([mine] rounds)")
    return [f"--round={words.round_number}"]


def _on_sagemaker(config: Any, words: argparse.Namespace) -> None:
    from calltune.errors import ConfigError
    from calltune.verbs import sagemaker

    if words.verb == "sagemaker":
        sagemaker.act(config, words.action, words.yes)
    elif words.verb == "deploy":
        _load("deploy").run(config, words.dry_run, words.down)
    elif words.on != "sagemaker":
        if words.detach:
            raise ConfigError("--detach goes with --on sagemaker")
        raise ConfigError("--dry-run goes with --on sagemaker; 'check' is what looks at a run on this machine")
    elif words.verb not in sagemaker.ON_SAGEMAKER:
        raise ConfigError(f"{words.verb} runs on this machine; leave --on sagemaker out")
    else:
        sagemaker.launch(config, words.verb, words.dry_run, words.detach)


if __name__ == "__main__":
    sys.exit(main())

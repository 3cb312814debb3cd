"""Every mistake a user may make: one line, exit 2, nothing half-written."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from calltune import __version__
from calltune.cli import main
from calltune.verbs.parser import VERBS


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "overrides", "message"),
    [
        ("fly", [], "unknown verb 'fly'"),
        ("chek", [], "unknown verb 'chek', did you mean 'check'?"),
        ("check", ["sft.learnig_rate=1"], "did you mean 'learning_rate'?"),
        ("check", ["seed=x"], "'seed'"),
        ("check", ["evaluate.backend=hff"], "evaluate.backend: unknown backend 'hff', did you mean 'hf'?"),
        (
            "prepare",
            ["data.sources.0.name=when3call"],
            "data.sources.0: unknown source 'when3call', did you mean 'when2call'?",
        ),
        (
            "prepare",
            ["data.sources.0.name=my.module"],
            "data.sources.0: unknown source 'my.module': there is no module of that name",
        ),
        ("prepare", ["data.sources.0.num_exmples=3"], "did you mean 'num_examples'?"),
        ("check", ["evaluate.benchmarks.0.name=bfc"], "evaluate.benchmarks.0: unknown benchmark 'bfc'"),
        ("check", ['gate.rules=["when2call.acc_nrom >= +2"]'], "unknown metric 'acc_nrom', did you mean 'acc_norm'?"),
        ("sft", ['gate.rules=["when2call.acc_nrom >= +2"]'], "unknown metric 'acc_nrom', did you mean 'acc_norm'?"),
        ("run", ['gate.rules=["when2call_generation.acc >= 0.5"]'], "unknown metric 'acc'"),
        ("check", ["model=/nowhere"], "model '/nowhere': no such folder"),
        ("check", ["evaluate.benchmarks.0.path=none.jsonl"], "none.jsonl: no such file of questions"),
        ("sft", [], "manifest.json: is missing; run the stage before this one first"),
        ("report", [], "nothing was evaluated yet"),
        ("prepare", ["output=/dev/null"], "/dev/null"),
        ("run", ["output=/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], write_run_file: Callable[..., Path], verb: str, overrides: list, message: str
) -> None:
    code, error = run(capsys, verb, str(write_run_file()), *overrides)
    assert code == 2
    assert message in error
    assert error.startswith("calltune: ")
    assert error.count("\n") == 1


def test_run_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, error = run(capsys, "run", str(tmp_path / "none.toml"))
    assert (code, error) == (2, f"calltune: {tmp_path / 'none.toml'}: no such run file\n")
    (tmp_path / "bad.toml").write_text("name = [")
    code, error = run(capsys, "run", str(tmp_path / "bad.toml"))
    assert code == 2
    assert "bad.toml: not valid TOML" in error
    assert run(capsys)[0] == 2


def test_rows_of_which_none_can_be_used_leave_no_data_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    rows = tmp_path / "train_sft.jsonl"
    rows.write_text('{"tools": []}\n')
    file = tmp_path / "own.toml"
    file.write_text(
        f'name = "own"\nmodel = "{tiny_model}"\noutput = "{tmp_path}/runs"\n'
        f'[[data.sources]]\nname = "when2call"\npath = "{rows}"\nsplit = "train_sft"\n'
    )
    code, error = run(capsys, "prepare", str(file))
    assert code == 2
    assert error == f"calltune: all 1 rows are rejected; the first, {rows}:1: 'messages' is missing\n"
    assert not (tmp_path / "runs" / "own" / "data").exists()


def test_the_place_of_a_rejected_answer_is_told_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    result = '{"role": "tool", "tool_call_id": "z", "content": "5"}'
    rows.write_text(
        '{"messages": [{"role": "user", "content": "?"}, ' + result + ', {"role": "assistant", "content": "5"}]}'
    )
    file = tmp_path / "own.toml"
    file.write_text(
        f'name = "own"\nmodel = "{tiny_model}"\noutput = "{tmp_path}/runs"\n'
        f'[[data.sources]]\nname = "openai_traces"\npath = "{rows}"\n'
    )
    code, error = run(capsys, "prepare", str(file))
    assert (code, error.count(str(rows))) == (2, 1)
    assert f"the first, {rows}:1#1: messages[1]" in error


@pytest.mark.parametrize(("words", "required"), [(["report"], "run.toml"), (["sagemaker"], "action, run.toml")])
def test_what_may_be_left_out_is_not_named_as_required(
    capsys: pytest.CaptureFixture[str], words: list[str], required: str
) -> None:
    assert run(capsys, *words) == (2, f"calltune: the following arguments are required: {required}\n")


def test_models_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], write_run_file: Callable[..., Path], tmp_path: Path, tiny_model: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny_model / "config.json", bare)
    code, error = run(capsys, "check", str(write_run_file(model=bare)))
    assert (code, error.count("\n")) == (2, 1)
    assert "its folder holds no tokenizer" in error
    toolless = tmp_path / "toolless"
    shutil.copytree(tiny_model, toolless)
    (toolless / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    code, error = run(capsys, "check", str(write_run_file(model=toolless)))
    assert code == 2
    assert error == (
        f"calltune: model '{toolless}': its chat template leaves out the tools; chat_template = \"hermes\" "
        "writes them, between the marks of turns that it has\n"
    )
    code, error = run(capsys, "check", str(write_run_file(model=toolless)), "chat_template=hermes")
    assert (code, error.count("\n")) == (2, 1)
    assert 'the marks of turns for chat_template = "hermes" cannot be read off its own template' in error


def test_another_run_s_folder(
    capsys: pytest.CaptureFixture[str], write_run_file: Callable[..., Path], tmp_path: Path
) -> None:
    assert run(capsys, "prepare", str(write_run_file()))[0] == 0
    code, error = run(capsys, "prepare", str(write_run_file()), "model=owner/other")
    assert code == 2
    assert "belongs to a run of model" in error
    assert "give this run another name" in error


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"calltune {__version__}\n"


def test_help_tells_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split()).split("exit codes: ")[1]
    for code in ("0 done", "1 a fault", "2 something to mend", "3 the gate", "130 interrupted", "143 by SIGTERM"):
        assert code in told


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [verb for verb in (*VERBS, "init", "sagemaker") if verb not in script] == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    asked = "\nCOMP_WORDS=(calltune ev); COMP_CWORD=1; _shtab_calltune calltune ev calltune; echo ${COMPREPLY[@]}"
    script = capsys.readouterr().out + asked
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout == "evaluate\n"


def test_nothing_looks_for_garbage_in_what_a_verb_imports(write_run_file: Callable[..., Path]) -> None:
    script = """if True:
        import gc, sys
        from calltune.cli import main
        full_passes = gc.get_stats()[2]["collections"]
        code = main(["dpo", sys.argv[1]])
        assert "trl" in sys.modules
        print(code, gc.isenabled(), gc.get_freeze_count() > 100_000, gc.get_stats()[2]["collections"] - full_passes)
    """
    words = [sys.executable, "-c", script, str(write_run_file())]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    code, *others = done.stdout.split()
    assert (code, others[:2]) == ("2", ["True", "True"])
    assert int(others[2]) < 4
    assert "is missing; run the stage before this one first" in done.stderr

"""Modules of one's own, the chat template, Spectrum's list: sent with the code, and told by their content."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from calltune.config.run_file import Config, load_config
from calltune.errors import ConfigError
from calltune.launch.sagemaker.plan import make_plan
from calltune.verbs import prepare

BENCHMARK = '''"""When2Call's questions, scored as calltune scores them."""
from calltune.evaluation.benchmarks.when2call import *
from calltune.evaluation.benchmarks.when2call import Settings
'''
UNFROZEN = "unfrozen_parameters:\n- ^lm_head.weight$\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package of one's own, which Python finds, and what else a run file may name."""
    package = tmp_path / "own" / f"of_mine_{tmp_path.name.replace('-', '_')}"
    (package / "parts" / "__pycache__").mkdir(parents=True)
    (package / "parts" / "bench.py").write_text(BENCHMARK)
    (package / "words.csv").write_text("a,b")
    (package / ".secret").write_text("hidden")
    (package / "parts" / "__pycache__" / "x.pyc").write_text("compiled")
    (tmp_path / "own" / "mine.jinja").write_text("{{ messages }}")
    (tmp_path / "own" / "unfrozen.yaml").write_text(UNFROZEN)
    monkeypatch.syspath_prepend(tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    return package


def inside(archive: bytes) -> Mapping[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers()}  # pyright: ignore


def changed(before: Config, after: Config | None = None, edit: Callable[[], object] = lambda: None) -> list[str]:
    """The stages whose jobs an edit makes others."""
    old = make_plan(before).identities
    edit()
    new = make_plan(after or before).identities
    return [stage for stage in old if old[stage] != new[stage]]


def test_a_module_of_your_own_is_sent_with_its_package(prepared: Callable[..., Config], own: Path) -> None:
    config = prepared(f"evaluate.benchmarks.0.name={own.name}.parts.bench")
    files = inside(make_plan(config).archive)
    assert {name for name in files if name.startswith(own.name)} == {
        f"{own.name}/parts/bench.py",
        f"{own.name}/words.csv",
    }
    assert json.loads(files["needs.json"])["modules"] == {f"{own.name}.parts.bench": "evaluate.benchmarks.0"}
    assert changed(config, edit=lambda: (own / "parts" / "bench.py").write_text(f"{BENCHMARK}X = 1\n")) == ["evaluate"]
    assert changed(config, edit=lambda: (own / "words.csv").write_text("a,c")) == ["evaluate"]


def test_a_module_that_is_not_there_is_one_line(sagemaker_file: Callable[..., Path], prepared: Callable) -> None:
    prepared()
    config = load_config(sagemaker_file(), ["evaluate.benchmarks.0.name=nowhere.at_all"])
    with pytest.raises(ConfigError, match=r"evaluate.benchmarks.0: 'nowhere.at_all' cannot be imported: No module"):
        make_plan(config)


def test_a_source_of_your_own_is_known_by_its_rows(prepared: Callable[..., Config], own: Path) -> None:
    """It runs here, in `prepare`; the jobs neither import nor need it."""
    source = own / "parts" / "rows.py"
    source.write_text("from calltune.data.sources.synthetic.source import *\n")
    plan = make_plan(prepared(f"data.sources.0.name={own.name}.parts.rows"))
    assert not [name for name in inside(plan.archive) if name.startswith(own.name)]


def test_the_template_is_sent_and_told_by_its_content(
    sagemaker_file: Callable[..., Path], own: Path, tiny_model: Path
) -> None:
    template = own.parent / "mine.jinja"
    template.write_text((tiny_model / "chat_template.jinja").read_text())
    config = load_config(sagemaker_file(), ["chat_template=mine.jinja"])
    prepare.run(config)
    files = inside(make_plan(config).archive)
    assert json.loads(files["config.json"])["chat_template"] == "mine.jinja"
    assert files["mine.jinja"] == template.read_bytes()
    elsewhere = load_config(sagemaker_file(), [f"chat_template={template}"])
    files = inside(make_plan(elsewhere).archive)
    assert json.loads(files["config.json"])["chat_template"] == "sent/chat_template.jinja"
    assert files["sent/chat_template.jinja"] == template.read_bytes()
    # By whatever name it is the same job, and edited another.
    assert changed(config, elsewhere) == []
    edit = lambda: template.write_text(f"{template.read_text()}{{# edited #}}")  # noqa: E731
    assert changed(config, edit=edit) == ["sft", "dpo", "evaluate"]


def test_spectrums_list_is_sent_and_told_by_its_content(prepared: Callable[..., Config], own: Path) -> None:
    config = prepared('tuning.dpo={method="spectrum", spectrum_file="unfrozen.yaml"}')
    files = inside(make_plan(config).archive)
    assert files["unfrozen.yaml"].decode() == UNFROZEN
    assert json.loads(files["config.json"])["tuning"]["dpo"]["spectrum_file"] == "unfrozen.yaml"
    edit = lambda: (own.parent / "unfrozen.yaml").write_text(f"{UNFROZEN}- ^model.norm$\n")  # noqa: E731
    assert changed(config, edit=edit) == ["dpo", "evaluate"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("chat_template=no.jinja", "'chat_template': no.jinja: No such file or directory"),
        ("sft.deepspeed=unfrozen.yaml", "'sft.deepspeed' names a file of this machine, unfrozen.yaml, which is not"),
        (
            'tuning={method="spectrum", spectrum_file="no.yaml"}',
            "'tuning.spectrum_file': no.yaml: No such file or directory",
        ),
    ],
    ids=["template", "a file of TRL's", "spectrum"],
)
def test_a_file_that_is_not_there_or_not_sent_is_one_line(
    sagemaker_file: Callable[..., Path], prepared: Callable[..., Config], own: Path, override: str, told: str
) -> None:
    prepared()
    with pytest.raises(ConfigError) as error:
        make_plan(load_config(sagemaker_file(), [override]))
    assert told in str(error.value)


def test_the_place_in_the_account_is_part_of_a_job(prepared: Callable[..., Config]) -> None:
    everything = ["sft", "dpo", "evaluate"]
    assert changed(prepared(), prepared("launch.sagemaker.bucket=another")) == everything
    assert changed(prepared(), prepared("launch.sagemaker.prefix=another")) == everything


def test_what_decides_no_result_makes_no_other_job(prepared: Callable[..., Config]) -> None:
    for override in (
        'gate.rules=["when2call.acc_norm >= 0.1"]',
        "export.dtype=bfloat16",
        "plan.price_per_hour=3.0",
        "tuning.share_prefixes=false",
        "launch.sagemaker.spot=true",
    ):
        assert changed(prepared(), prepared(override)) == [], override

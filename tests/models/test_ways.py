"""The choice among ways to attend: only right ones, the fastest of them, told in one line. No GPU is there, so torch's
kernels of a GPU are put in plain torch where torch has its own."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kernels_on_cpu import run_on_cpu, varlen_attn, varlen_attn_from_the_start
from shared_batches import dpo_batch, step, trained
from small_models import forked_rows, make_model

from calltune.config.run_file import load_config
from calltune.errors import ConfigError
from calltune.models.backends.hf import Backend
from calltune.models.trie import pack
from calltune.models.ways import WAYS, Ways, possible_ways, ways_of
from calltune.training.settings import stage_settings
from calltune.training.sharing import share_prefixes
from calltune.types import ScoringRequest

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def slowly(*inputs: Any, **options: Any) -> torch.Tensor:
    time.sleep(0.02)
    return varlen_attn(*inputs, **options)


def refused(*inputs: Any, window_size: Any = None, **options: Any) -> torch.Tensor:
    raise RuntimeError("no kernel image is available\nfor execution")


def test_what_there_may_be_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert possible_ways(CPU, torch.float32, 64) == ["blocks"]
    assert possible_ways(CPU, torch.bfloat16, 64) == ["blocks"]
    assert possible_ways(GPU, torch.bfloat16, 128) == ["varlen", "flex", "blocks"]
    assert possible_ways(GPU, torch.float16, 128, is_compiling=False) == ["varlen", "blocks"]
    assert possible_ways(GPU, torch.float32, 128, is_compiling=False) == ["flex", "blocks"]
    assert possible_ways(GPU, torch.bfloat16, 512) == ["flex", "blocks"]
    run_on_cpu(monkeypatch, lambda query, key, value, is_causal=False: query)
    assert possible_ways(GPU, torch.bfloat16, 128) == ["flex", "blocks"]


def test_on_a_cpu_nothing_is_chosen_checked_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    ways = ways_of(make_model("Qwen3"))
    assert ways.best(pack(forked_rows(1)), with_gradients=True) == "blocks"
    assert ways.seconds == {}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("family", ["Qwen3", "Gemma3"])
def test_the_fastest_is_kept_and_told_once(
    family: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_on_cpu(monkeypatch, slowly)
    ways = ways_of(make_model(family), among=("varlen", "blocks"))
    assert ways.candidates == ["varlen", "blocks"]
    for seed in range(5):
        assert ways.best(pack(forked_rows(seed)), with_gradients=True) == "blocks"
    told = capsys.readouterr().out
    assert told.startswith(
        "attention over shared prefixes: blocks (forward and backward, all layers of a batch: blocks "
    )
    assert told.count("\n") == 1
    # What is fast with gradients need not be so without.
    assert ("varlen", False) not in ways.seconds
    with torch.inference_mode():
        ways.best(pack(forked_rows(9)), with_gradients=False)
    assert ways.seconds["varlen", False] > ways.seconds["blocks", False] > 0


@pytest.mark.parametrize(("tail", "is_tried"), [(300, False), (3, True)])
def test_flex_is_compiled_only_where_varlen_gathers_many_keys(
    tail: int, is_tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_cpu(monkeypatch)
    ways = ways_of(make_model("Qwen3"), among=WAYS)
    # Eight rows that go on from one beginning.
    rows = [[*range(1, 60), *([number] * tail)] for number in range(60, 68)]
    for _ in range(2):
        ways.best(pack(rows), with_gradients=True)
    assert (("flex", True) in ways.seconds) == is_tried
    assert {("varlen", True), ("blocks", True)} <= ways.seconds.keys()
    told = "; flex is left out: it is not compiled, as varlen gathers only 1.2 keys a token"
    assert ways.left_out() == ("" if is_tried else told)


@pytest.mark.parametrize(
    ("kernel", "why"),
    [(varlen_attn_from_the_start, "its outputs are off by"), (refused, "RuntimeError: no kernel image is available")],
)
def test_a_way_that_is_wrong_is_left_out(
    kernel: Any, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_on_cpu(monkeypatch, kernel)
    model = make_model("Llama")
    ways = ways_of(model, among=WAYS)
    assert ways.candidates == ["flex", "blocks"]
    assert why in ways.faults["varlen"]
    assert ways_of(model, "varlen").candidates == ["blocks"]
    told = capsys.readouterr().out
    assert told.startswith("attention over shared prefixes: blocks; varlen is left out: ")
    assert why in told
    assert told.count("\n") == 1
    assert "no way to attend" in (ways_of(model, among=("varlen",)).reason_against() or "")


def test_a_way_for_which_a_batch_is_too_large_is_left_out_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_on_cpu(monkeypatch)
    ways = ways_of(make_model("Llama"), among=("varlen", "blocks"))
    run_on_cpu(monkeypatch, refused)
    before = torch.get_rng_state()
    assert ways.best(pack(forked_rows(1)), with_gradients=True) == "blocks"
    assert torch.equal(torch.get_rng_state(), before)
    assert "no kernel image" in ways.faults["varlen"]
    assert capsys.readouterr().out.count("varlen is left out: RuntimeError: no kernel image is available\n") == 1


def test_where_no_way_is_right_plain_rows_are_computed(capsys: pytest.CaptureFixture[str]) -> None:
    model = trained("qwen3")
    expected = step(model, dpo_batch())
    sharing = share_prefixes(model)
    sharing.ways[torch.float32] = Ways([], (4, 2, 8), [None], torch.float32, CPU, faults={"blocks": "so"})
    found = step(model, dpo_batch())
    assert found[0] == expected[0]
    assert "blocks is left out: so" in (sharing.off_because or "")
    assert capsys.readouterr().out.count("shared prefixes are off") == 1


def test_a_step_by_choice_is_that_of_plain_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    run_on_cpu(monkeypatch)
    model = trained("qwen3")
    expected = step(model, dpo_batch())
    sharing = share_prefixes(model)
    sharing.ways[torch.float32] = ways_of(model, among=WAYS)
    for _ in range(4):
        found = step(model, dpo_batch())
        assert found[0] == pytest.approx(expected[0], rel=1e-6)
        assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5
    assert sharing.facts(1.0, CPU)["shared_prefixes"]["attention"] in WAYS


def test_each_precision_has_its_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    run_on_cpu(monkeypatch)
    model = trained("qwen3")
    sharing = share_prefixes(model, attention="varlen")
    step(model, dpo_batch())
    with torch.autocast("cpu", torch.bfloat16):
        step(model, dpo_batch())
    assert {dtype: ways.dtype for dtype, ways in sharing.ways.items()} == {
        torch.float32: torch.float32,
        torch.bfloat16: torch.bfloat16,
    }


def test_scores_by_one_call_are_those_of_plain_rows(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on_cpu(monkeypatch)
    asked = [ScoringRequest("The weather in Oslo is", (" cold", " mild and wet")) for _ in range(3)]
    plain, shared = (Backend(str(tiny_model), 4096, share_prefixes=each) for each in (False, True))
    shared.loglikelihood(asked)
    expected = plain.loglikelihood(asked)
    for way in ("varlen", "flex"):
        shared._ways = ways_of(shared._model, among=(way,))
        for ours, theirs in zip(shared.loglikelihood(asked), expected, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5)
        assert shared._ways.chosen == way


@pytest.mark.parametrize("way", ["varlen", "flex"])
def test_a_way_of_gpus_is_refused_without_one(way: str, write_run_file: Callable[..., Path]) -> None:
    config = load_config(write_run_file(f"[tuning]\nattention = '{way}'\n"))
    with pytest.raises(ConfigError, match=f"tuning.attention: '{way}' needs a GPU"):
        stage_settings(config, "sft")


def test_attention_of_shared_prefixes_that_are_off_is_refused(write_run_file: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="'share_prefixes' is false"):
        load_config(write_run_file("[tuning]\nattention = 'blocks'\nshare_prefixes = false\n"))

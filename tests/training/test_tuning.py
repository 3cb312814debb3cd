import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import Qwen3Config, Qwen3ForCausalLM

from calltune.calling.chat import Chat
from calltune.config.run_file import Config, load_config
from calltune.config.stages import Stage
from calltune.data.rows import training_row
from calltune.data.sources import synthetic
from calltune.errors import ConfigError
from calltune.files.json_lines import write_jsonl
from calltune.models.load import load_model, load_tokenizer
from calltune.training.adapter import merge_adapter
from calltune.training.recipe import fit_rows
from calltune.training.settings import stage_settings
from calltune.training.trainer import to_dataset
from calltune.training.tuning import (
    count_parameters,
    load_to_train,
    plan_tuning,
    tuning_inputs,
    unfreeze,
    write_plan,
)
from calltune.verbs import dpo, sft

LAYERS_0 = "unfrozen_parameters:\n- model.layers.0.mlp.up_proj\n- ^model.norm.weight$\n"
METHODS = {
    "full": ["tuning.method=full"],
    "spectrum": ["tuning.method=spectrum", "tuning.spectrum_percent=50"],
    "lora": ["tuning.method=lora", "lora.r=2"],
    "qlora": ["tuning.method=qlora", "lora.r=2"],
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def read(write_run_file: Callable[..., Path]) -> Callable[..., Config]:
    return lambda *overrides: load_config(write_run_file(), overrides)


def trained_names(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}


def skeleton_of(config: Config, stage: Stage, model: Path) -> Any:
    return plan_tuning(stage_settings(config, stage), str(model)).skeleton


def trainer_of(config: Config, recipe: Any, model: Path, folder: Path) -> Any:
    """A trainer as a stage makes it, over six rows."""
    rows = synthetic.preferences(0, 6) if recipe is dpo.RECIPE else synthetic.examples(0, 6)
    write_jsonl(folder / "rows.jsonl", map(training_row, rows))
    chat = Chat(load_tokenizer(str(model)))
    fitted = fit_rows(chat, recipe, folder / "rows.jsonl", None)
    settings = stage_settings(config, recipe.stage)
    size = {"max_length": fitted.max_length, "max_steps": 2, "learning_rate": 1e-2}
    return recipe.trainer(
        model=load_to_train(settings, plan_tuning(settings, str(model)), str(model)),
        args=settings.arguments_with(output_dir=str(folder), **size),
        train_dataset=to_dataset(fitted.texts),
        processing_class=chat.tokenizer,
        peft_config=settings.lora,
    )


@pytest.mark.parametrize("recipe", [sft.RECIPE, dpo.RECIPE], ids=["sft", "dpo"])
@pytest.mark.parametrize("method", METHODS)
def test_two_steps_change_what_is_trained_and_nothing_else(
    method: str, recipe: Any, read: Callable[..., Config], tiny_model: Path, tmp_path: Path
) -> None:
    config = read(*METHODS[method])
    planned = skeleton_of(config, recipe.stage, tiny_model)
    trainer = trainer_of(config, recipe, tiny_model, tmp_path)
    assert count_parameters(trainer.model) == count_parameters(planned)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    changed = {name for name, p in trainer.model.named_parameters() if not torch.equal(p.cpu(), before[name].cpu())}
    # After two steps from B = 0, everything that has a gradient has moved.
    assert changed == {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert (method in ("lora", "qlora")) == all("lora_" in name for name in changed)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_the_reference_of_dpo_with_adapters_is_the_model_without_them(
    method: str, read: Callable[..., Config], tiny_model: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(read(*METHODS[method]), dpo.RECIPE, tiny_model, tmp_path)
    assert trainer.ref_model is None
    # bitsandbytes on a CPU repacks weights for evaluation, which needs wider layers than this model's.
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    before = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch))
    trainer.train()
    after = torch.cat(trainer.compute_ref_log_probs(trainer.model, batch))
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    settings = stage_settings(read(*METHODS[method]), "dpo")
    base = load_to_train(settings, plan_tuning(settings, str(tiny_model)), str(tiny_model)).train()
    torch.testing.assert_close(after, answer_log_probs(base, batch), rtol=1e-5, atol=1e-4)
    assert (answer_log_probs(trainer.model, batch) - after).abs().max() > 1e-3


def answer_log_probs(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    picked = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    return (picked * batch["completion_mask"][:, 1:]).sum(1)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapters_are_added_to_the_weights_that_were_never_quantised(
    method: str, read: Callable[..., Config], tiny_model: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(read(*METHODS[method]), sft.RECIPE, tiny_model, tmp_path)
    trainer.train()
    trainer.model.save_pretrained(str(tmp_path / "adapter"))
    merged = dict(merge_adapter(str(tiny_model), tmp_path / "adapter").named_parameters())
    base = dict(load_model(str(tiny_model), torch.float32).named_parameters())
    assert merged.keys() == base.keys()
    adapted = {key: value.float() for key, value in trainer.model.state_dict().items() if "lora_" in key}
    for name, weight in base.items():
        place = f"base_model.model.{name.removesuffix('.weight')}"
        expected = weight
        if f"{place}.lora_A.default.weight" in adapted:
            scale = trainer.model.peft_config["default"].lora_alpha / 2
            product = adapted[f"{place}.lora_B.default.weight"] @ adapted[f"{place}.lora_A.default.weight"]
            expected = weight + scale * product
            assert not torch.equal(merged[name], weight)
        torch.testing.assert_close(merged[name], expected)
        assert merged[name].dtype == torch.float32


def test_a_spectrum_file_trains_what_it_names(read: Callable[..., Config], tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(LAYERS_0)
    config = read("tuning.method=spectrum", f"tuning.spectrum_file={file}")
    settings = stage_settings(config, "sft")
    # What the run file names is read with it, and not again.
    file.unlink()
    loaded = load_to_train(settings, plan_tuning(settings, str(tiny_model)), str(tiny_model))
    assert trained_names(loaded) == {"model.layers.0.mlp.up_proj.weight", "model.norm.weight"}
    assert count_parameters(loaded) == (32 * 64 + 32, 32 * 3072 + count_in_layers(loaded) + 32)


def count_in_layers(model: Any) -> int:
    return sum(parameter.numel() for name, parameter in model.named_parameters() if ".layers." in name)


def test_half_of_each_kind_and_what_is_written_can_be_read_back(
    read: Callable[..., Config], tiny_model: Path, tmp_path: Path
) -> None:
    plan = plan_tuning(stage_settings(read(*METHODS["spectrum"]), "dpo"), str(tiny_model))
    assert {kind: len(modules) for kind, modules in plan.chosen.items()} == dict.fromkeys(plan.chosen, 1)
    assert len(plan.chosen) == 7
    assert not {name for name in trained_names(plan.skeleton) if "norm" in name or "embed" in name or "head" in name}
    write_plan(plan, tmp_path)
    again = read("tuning.method=spectrum", f"tuning.spectrum_file={tmp_path}/unfrozen_parameters.yaml")
    assert trained_names(skeleton_of(again, "dpo", tiny_model)) == trained_names(plan.skeleton)


@pytest.mark.parametrize("asked", ["train_head", "train_embeddings"])
def test_tied_embeddings_are_trained_when_asked_and_counted_once(
    asked: str, read: Callable[..., Config], tiny_model: Path
) -> None:
    without = count_parameters(skeleton_of(read(*METHODS["spectrum"]), "sft", tiny_model))
    skeleton = skeleton_of(read(*METHODS["spectrum"], f"tuning.{asked}=true"), "sft", tiny_model)
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= trained_names(skeleton)
    assert count_parameters(skeleton) == (without[0] + 3072 * 32, without[1])


def test_the_originals_lines_for_head_and_embeddings_fit_tied_and_untied_models() -> None:
    for tied in (True, False):
        model = Qwen3ForCausalLM(Qwen3Config(vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                             num_attention_heads=1, head_dim=16, num_key_value_heads=1,
                                             tie_word_embeddings=tied))  # fmt: skip
        unfreeze(model, ["^lm_head.weight$"])
        assert ("model.embed_tokens.weight" in trained_names(model)) == tied
        assert count_parameters(model)[0] == 64 * 16


def test_each_stage_may_have_a_method_of_its_own(read: Callable[..., Config]) -> None:
    config, plain = read(*METHODS["spectrum"], "tuning.dpo={method='full'}"), tuning_inputs(read().tuning, {})
    assert [stage_settings(config, stage).tuning.method for stage in ("sft", "dpo")] == ["spectrum", "full"]
    assert [tuning_inputs(config.tuning.of(stage), {}) == plain for stage in ("sft", "dpo")] == [False, True]


def mistakes() -> Iterator[tuple[list[str], str]]:
    yield ["tuning.method=spectrum"], "takes either 'spectrum_percent' or 'spectrum_file'"
    yield ["tuning.spectrum_percent=50"], "'spectrum_percent' is read by method 'spectrum' alone, not by 'full'"
    yield ["tuning.method=lora", "tuning.train_head=true"], "'train_head' is read by method 'spectrum' alone"
    yield ["tuning.method=spectrum", "tuning.spectrum_percent=0"], "'tuning.spectrum_percent'"
    yield [*METHODS["spectrum"], "lora.r=3"], r"\[lora\] is given, but tuning.method is 'spectrum'"
    yield ["tuning.method=spectrum", "tuning.spectrum_file=no.yaml"], "no.yaml: No such file"
    yield ["tuning.method=lora", "lora.target_modules=['q_proj', 'v_prj']"], "'v_prj' is no module of .*q_proj"
    yield ["tuning.method=lora", "lora.target_modules=nothing_at_all"], r"\[lora\]: .* not found .*q_proj"


@pytest.mark.parametrize(("overrides", "message"), list(mistakes()))
def test_mistakes_are_one_line(
    overrides: list[str], message: str, read: Callable[..., Config], tiny_model: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        skeleton_of(read(*overrides), "sft", tiny_model)
    assert "\n" not in str(error.value)


def test_a_pattern_that_matches_nothing_is_named(read: Callable[..., Config], tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text("unfrozen_parameters:\n- model.layers.9.mlp.up_proj\n")
    settings = stage_settings(read("tuning.method=spectrum", f"tuning.spectrum_file={tmp_path}/some.yaml"), "sft")
    with pytest.raises(ConfigError, match=r"'model.layers.9.mlp.up_proj' matches no parameter .*model.layers.0"):
        plan_tuning(settings, str(tiny_model))


def test_a_changed_spectrum_file_is_another_setting(read: Callable[..., Config], tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_text(LAYERS_0)
    tuning = read("tuning.method=spectrum", f"tuning.spectrum_file={tmp_path}/some.yaml").tuning
    before = json.dumps(tuning_inputs(tuning, {}))
    (tmp_path / "some.yaml").write_text(LAYERS_0 + "- ^lm_head.weight$\n")
    assert json.dumps(tuning_inputs(tuning, {})) != before


def test_the_runs_own_words_for_loading_win(read: Callable[..., Config], tiny_model: Path) -> None:
    def loaded(*overrides: str) -> Any:
        settings = stage_settings(read(*overrides), "sft")
        return load_to_train(settings, plan_tuning(settings, str(tiny_model)), str(tiny_model))

    told = loaded("sft.model_init_kwargs={attn_implementation='eager', dtype='bfloat16'}")
    assert (told.config._attn_implementation, told.dtype) == ("eager", torch.bfloat16)
    plain = loaded()
    assert (plain.config._attn_implementation, plain.dtype) == ("sdpa", torch.float32)
    assert not isinstance(plain, PeftModel)

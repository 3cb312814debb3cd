import re
from dataclasses import replace
from pathlib import Path

import huggingface_hub
from markdown_it import MarkdownIt

from calltune.report.card import CardFacts, DataFile, TrainedStage, model_card
from calltune.report.results import Result

FACTS = CardFacts(
    name="my-agent",
    base="Qwen/Qwen3-0.6B",
    base_card={"base_model": "Qwen/Qwen3-0.6B", "license": "apache-2.0"},
    checkpoint="dpo",
    dtype="bfloat16",
    method="lora",
    datasets=["nvidia/When2Call"],
    sources=[("when2call", "nvidia/When2Call")],
    files=[DataFile("data/train.jsonl", 15_000, "ab" * 32)],
    recipe={"seed": 1, "sft": {"learning_rate": 2e-5, "hub_token": "hf_secret"}},
    stages={
        name: TrainedStage({"rows": 14_990, "rows_too_long": 10, "answer_tokens": 123_456}, 1_874, 0.0321)
        for name in ("sft", "dpo")
    },
    results=[
        Result(
            benchmark="when2call",
            checkpoint=name,
            prompt="official (qwen2_5)",
            num_samples=25,
            num_correct=5,
            num_wrong=5,
            num_malformed=5,
            num_truncated=5,
            num_errors=5,
            primary_metric="acc_norm",
            metrics={"acc": 0.4, "acc_norm": value, "hallucination_rate": None, "recall_direct": 0.1},
            intervals={"acc_norm": (value - 0.02, value + 0.02)},
            confusion={},
            versions={},
            data_sha256="",
        )
        for name, value in (("base", 0.476), ("dpo", 0.62))
    ],
)
VERSIONS = {"calltune": "0.1.0", "torch": "2.13.0"}


def card(facts: CardFacts = FACTS) -> str:
    return model_card(facts, "vllm serve export", "", "8 of 8 greedy answers are the same", VERSIONS)


def rendered(text: str) -> str:
    return MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text.split("\n---\n", 1)[1])


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card(), encoding="utf-8")
    assert huggingface_hub.metadata_load(tmp_path / "README.md") == {
        "base_model": "Qwen/Qwen3-0.6B",
        "license": "apache-2.0",
        "base_model_relation": "finetune",
        "datasets": ["nvidia/When2Call"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tool-calling", "function-calling", "calltune", "sft", "dpo", "lora"],
    }


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    bare = replace(FACTS, base_card={}, datasets=[], results=[], method="full")
    (tmp_path / "README.md").write_text(card(bare), encoding="utf-8")
    found = huggingface_hub.metadata_load(tmp_path / "README.md") or {}
    assert found.keys() == {"library_name", "pipeline_tag", "tags"}
    assert "It was not measured." in card(bare)


def test_the_verdict_of_the_report_stands_above_the_figures() -> None:
    text = card(replace(FACTS, verdict="The report's verdict on dpo: Ship sft, not dpo. dpo is worse <b>"))
    told = "The report's verdict on dpo: Ship sft, not dpo. dpo is worse &lt;b&gt;"
    assert f"<h2>Results</h2>\n<p>{told}</p>" in rendered(text)
    assert "verdict" not in card()


def test_results_with_intervals_data_with_hashes_and_no_secret() -> None:
    text = card()
    assert "| acc\\_norm | 0.476 (0.456 to 0.496) | 0.620 (0.600 to 0.640) |" in text
    assert text.index("| acc\\_norm") < text.index("| acc |")
    assert "hallucination" not in text
    assert "recall" not in text
    assert f"| data/train.jsonl | 15,000 | `{'ab' * 32}` |" in text
    assert "| sft | 14,990 | 10 | 123,456 | 1,874 | 3.2% |" in text
    assert '"learning_rate": 2e-05' in text
    assert "hf_secret" not in text


def test_a_model_of_an_earlier_step_is_told() -> None:
    kept = "the model is that of step 6: the guard's best check of 24 steps"
    assert "that of step" not in card()
    text = card(replace(FACTS, stages={"dpo": replace(FACTS.stages["dpo"], kept=kept)}))
    assert f"<p>dpo: {kept}.</p>" in rendered(text)


def test_hostile_names_are_words() -> None:
    """Nothing of a name becomes markup, a link, a row, a heading or a key of the front matter."""
    for evil in (
        "<script>alert(1)</script>",
        "[click](https://evil.example)",
        "a | b\n| c | d |\n\n# heading",
        "x\n---\nlicense: mit\n---",
        "```\n</code><img src=x>",
        'quote " and \\ and ${x} {{ y }}',
        "**bold** _it_ `code` ![i](j) <https://evil.example> @someone",
    ):
        facts = replace(
            FACTS,
            base=evil,
            base_card={"base_model": evil, "license": evil},
            datasets=[evil],
            sources=[(evil, evil)],
            recipe={"sft": {"run_name": evil}},
            results=[replace(FACTS.results[0], benchmark=evil, prompt=evil)],
        )
        plain, page = rendered(card()), rendered(card(facts))
        assert not re.search(r"<(script|img|a|h1[^>]*>heading)\b", page), evil
        assert page.count("<h1") == plain.count("<h1"), evil
        assert page.count("<tr") - plain.count("<tr") == 0, evil
        assert page.count("<pre") == plain.count("<pre"), evil
        assert page.count("<strong") == plain.count("<strong"), evil
        front = card(facts).split("\n---\n", 1)[0]
        assert front.count("\n") == card().split("\n---\n", 1)[0].count("\n"), evil

"""Files of older versions that hold nan: the report tells so, is JSON, and gives no figure that was made of them."""

import json
from pathlib import Path

import pytest
from planted_run import plant_run, run_file

from calltune.cli import main
from calltune.errors import NotFiniteError
from calltune.files.hashes import value_sha256
from calltune.files.json_lines import to_json, write_json
from calltune.report.page.charts import lines


def strict(text: str) -> dict:
    def refuse(name: str) -> object:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def page_data(folder: Path) -> dict:
    page = (folder / "report.html").read_text()
    start = page.index('id="example-data"')
    return strict(page[page.index(">", start) + 1 : page.index("</script>", start)])


def spoil(file: Path, **fields: object) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row | fields) + "\n" for row in rows))


def test_a_loss_that_was_nan_is_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = plant_run(tmp_path / "toy")
    history = json.loads((folder / "dpo" / "history.json").read_text())
    for entry in history["log"][1:3]:
        entry["loss"] = float("nan")
    (folder / "dpo" / "history.json").write_text(json.dumps(history))
    manifest = json.loads((folder / "dpo" / "manifest.json").read_text())
    (folder / "dpo" / "manifest.json").write_text(json.dumps(manifest | {"trainable_share": float("inf")}))
    assert main(["report", str(run_file(folder))]) == 0
    told = "not finite are null in report.json and left out of plots; the first is 'training.dpo.1.loss'"
    assert f"warning: numbers that are {told}" in capsys.readouterr().out
    report = strict((folder / "report.json").read_text())
    assert f"numbers that are {told}" in report["problems"]
    assert [entry["loss"] for entry in report["training"]["dpo"]] == [2.0, None, None, 0.5]
    assert "2 points not finite, left out" in (folder / "report" / "training-dpo-loss.svg").read_text()
    assert "not finite" in (folder / "report.html").read_text()
    assert page_data(folder)["benchmarks"]


def test_a_loss_that_was_nothing_but_nan_has_no_plot(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy")
    log = [{"step": step, "loss": float("nan")} for step in range(1, 5)]
    (folder / "sft" / "history.json").write_text(json.dumps({"log": log}))
    assert main(["report", str(run_file(folder))]) == 0
    assert not (folder / "report" / "training-sft-loss.svg").exists()
    assert (folder / "report" / "training-dpo-loss.svg").exists()


def test_likelihoods_that_were_nan_are_errors_and_no_gate_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = plant_run(tmp_path / "toy")
    place = folder / "eval" / "dpo" / "when2call"
    labels = ("direct", "tool_call", "request_for_info", "cannot_answer")
    spoil(place / "completions.jsonl", logprobs=dict.fromkeys(labels, float("nan")))
    spoil(place / "scores.jsonl", value=0.0, label="direct")
    rules = '[gate]\nrules = ["when2call.hallucination_rate <= 0.05"]\n'
    assert main(["report", str(run_file(folder, rules))]) == 3
    out, error = capsys.readouterr()
    assert error == "calltune: gate: dpo breaks 1 of 1 rules: when2call.hallucination_rate <= 0.05\n"
    assert (
        "when2call: 40 of dpo's log-likelihoods are not finite and count as errors; look at the model's weights" in out
    )
    report = strict((folder / "report.json").read_text())
    results = {r["checkpoint"]: r for r in report["results"] if r["benchmark"] == "when2call"}
    assert results["dpo"]["metrics"]["acc_norm"] is None
    assert results["dpo"]["metrics"]["baseline_majority"] is not None
    assert results["dpo"]["num_errors"] == 40
    assert results["sft"]["metrics"]["acc_norm"] is not None
    answers = [row[6][2] for row in page_data(folder)["benchmarks"][0]["rows"]]
    assert all(value is None and likelihoods == [] for value, *_, likelihoods in answers)


def test_one_of_many_that_was_nan_is_one_error(tmp_path: Path) -> None:
    folder = plant_run(tmp_path / "toy", number=200)
    file = folder / "eval" / "dpo" / "when2call" / "completions.jsonl"
    first, *others = file.read_text().splitlines()
    row = json.loads(first)
    row["logprobs"]["direct"] = float("-inf")
    file.write_text("\n".join([json.dumps(row), *others]) + "\n")
    assert main(["report", str(run_file(folder))]) == 0
    report = strict((folder / "report.json").read_text())
    (dpo,) = (r for r in report["results"] if (r["benchmark"], r["checkpoint"]) == ("when2call", "dpo"))
    assert (dpo["num_errors"], dpo["num_not_finite"]) == (1, 1)
    assert 0 < dpo["metrics"]["acc_norm"] < 1


def test_no_writer_writes_a_number_that_json_has_not(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with pytest.raises(NotFiniteError, match=r"a\.json: 'metrics\.acc\.1' is not finite, so it is not written"):
        write_json(file, {"n": 1, "metrics": {"acc": [0.5, float("nan")]}})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFiniteError, match="'loss' is not finite"):
        to_json({"loss": float("inf")})
    with pytest.raises(NotFiniteError, match="'a' is not finite"):
        value_sha256({"a": float("-inf")})


def test_a_curve_of_numbers_alone_says_nothing_of_others() -> None:
    assert "not finite" not in lines("t", {"a": [(1, 2.0), (2, 1.0)]}, "step", ["c1"])

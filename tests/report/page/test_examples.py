"""What the examples browser shows."""

import json
from pathlib import Path

from planted_run import plant_run, run_file

from calltune.config.run_file import load_config
from calltune.evaluation.jobs import open_benchmarks
from calltune.report.page.examples import examples
from calltune.report.results import checkpoints, read_results


def test_the_right_answer_is_a_class_or_the_call_that_is_due(tmp_path: Path) -> None:
    config = load_config(run_file(plant_run(tmp_path / "toy", number=8)))
    shown = examples(read_results(open_benchmarks(config), checkpoints(config)))
    ranked, written = (
        [(shown["texts"][row[3]], shown["texts"][row[4]]) for row in benchmark["rows"]]
        for benchmark in shown["benchmarks"]
    )
    assert ranked[:2] == [("direct", "direct"), ("tool_call", "tool_call")]
    assert written[0] == ("direct", "direct")
    assert written[1][0] == "tool_call"
    call = {"name": "book_1", "arguments": {"city": "City 1"}}
    assert json.loads(written[1][1]) == {"behavior": "tool_call", "call": call}

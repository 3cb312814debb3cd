from collections.abc import Sequence
from pathlib import Path

import pytest

from calltune.evaluation.answers import answer_rows, answer_the_rest, answered, keep_in_order
from calltune.evaluation.jobs import SAMPLES_BETWEEN_SAVES
from calltune.files.json_lines import write_jsonl
from calltune.runtime.processes import Processes
from calltune.types import Completion, Message, Sample

ALONE = Processes(0, 0, 1)
SAMPLES = [Sample(f"{n}", "toy", (Message("user", "?" * (n * 7 % 150)),), (), "direct") for n in range(300)]


def completion(sample: Sample, text: str = "é\ud83d") -> Completion:
    return Completion(sample.id, Message("assistant", text), text, "ok")


class Model:
    """Answers until it is killed; remembers what it was asked."""

    def __init__(self, answers_before_it_dies: int | None = None) -> None:
        self.asked: list[str] = []
        self._left = answers_before_it_dies

    def __call__(self, samples: Sequence[Sample]) -> list[Completion]:
        if self._left is not None and len(self.asked) + len(samples) > self._left:
            raise KeyboardInterrupt
        self.asked += [sample.id for sample in samples]
        return [completion(sample) for sample in samples]


def ids(file: Path) -> set[str]:
    return {row["sample_id"] for row in answer_rows(file)}


def go_on(file: Path, model: Model, ours: Processes = ALONE) -> None:
    answer_the_rest(file, SAMPLES, ids(file), model, "asking", ours)


def gather(file: Path) -> bytes:
    rows = {row["sample_id"]: row for row in answer_rows(file)}
    keep_in_order(file, (rows[sample.id] for sample in SAMPLES))
    return file.read_bytes()


def test_killed_in_the_middle_it_asks_the_rest_alone(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole" / "rows.jsonl", tmp_path / "killed" / "rows.jsonl"
    whole.parent.mkdir()
    killed.parent.mkdir()
    go_on(whole, every := Model())
    sizes = {sample.id: len(sample.messages[0].content) for sample in SAMPLES}
    assert [sizes[key] for key in every.asked] == sorted(sizes.values(), reverse=True)
    with pytest.raises(KeyboardInterrupt):
        go_on(killed, first := Model(answers_before_it_dies=2 * SAMPLES_BETWEEN_SAVES))
    kept = killed.read_bytes()
    # A kill may cut the last line.
    killed.write_bytes(kept[:-5])
    go_on(killed, second := Model())
    assert first.asked == every.asked[: 2 * SAMPLES_BETWEEN_SAVES]
    assert second.asked == every.asked[2 * SAMPLES_BETWEEN_SAVES - 1 :]
    assert gather(killed) == gather(whole)


def test_what_several_processes_wrote_becomes_one_file(tmp_path: Path) -> None:
    file, alone = tmp_path / "rows.jsonl", tmp_path / "alone" / "rows.jsonl"
    alone.parent.mkdir()
    go_on(alone, Model())
    # As two processes left it, killed after 64 and 5 rows; then it is asked by one.
    for rank, rows in enumerate([SAMPLES[:128:2], SAMPLES[1:11:2]]):
        write_jsonl(tmp_path / f"rows-{rank}.jsonl", map(completion, rows))
    go_on(file, model := Model())
    assert set(model.asked) == {sample.id for sample in SAMPLES} - {s.id for s in SAMPLES[:128:2] + SAMPLES[1:11:2]}
    assert gather(file) == gather(alone)
    assert list(tmp_path.glob("*.jsonl")) == [file]


def test_a_failure_counts_only_where_there_is_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "completions.jsonl"
    failed = [Completion(sample.id, None, "", "error", reason="no server") for sample in SAMPLES[:3]]
    write_jsonl(file, [failed[0], completion(SAMPLES[1]), failed[2], completion(SAMPLES[2])])
    # The processes' files are read first.
    write_jsonl(tmp_path / "completions-0.jsonl", [completion(SAMPLES[0])])
    write_jsonl(tmp_path / "completions-1.jsonl", [failed[1]])
    assert [answered(file)[key].status for key in ("0", "1", "2")] == ["ok"] * 3
    (tmp_path / "completions-0.jsonl").unlink()
    assert answered(file)["0"].reason == "no server"

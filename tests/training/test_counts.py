from pathlib import Path
from types import SimpleNamespace

import pytest

from calltune.training.counts import KeepCounts, bound_as_begun
from calltune.training.sharing import Sharing


def test_a_stage_goes_on_with_the_bound_it_began_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step, bound in ((2, 4096), (4, None)):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        keeper = KeepCounts(Sharing(None), None, bound)
        keeper.on_save(SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=step), None)  # type: ignore[arg-type]
    assert bound_as_begun("sft", tmp_path / "checkpoint-2", 8192) == 4096
    assert bound_as_begun("sft", tmp_path / "checkpoint-4", 8192) is None
    assert capsys.readouterr().out.splitlines() == [
        "sft: goes on as it began, in passes of at most 4,096 tokens",
        "sft: goes on as it began, in whole batches",
    ]
    assert bound_as_begun("sft", tmp_path / "checkpoint-2", 4096) == 4096
    assert bound_as_begun("sft", None, 8192) == 8192
    # One of an older version keeps none.
    (tmp_path / "checkpoint-2" / "counts.json").unlink()
    assert bound_as_begun("sft", tmp_path / "checkpoint-2", 8192) == 8192
    assert capsys.readouterr().out == ""

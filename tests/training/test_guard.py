"""The guard's rules: which questions are asked, what their answers do, and what counts as a fall."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from calltune.calling.chat import Chat
from calltune.cli import main
from calltune.data.rows import training_row
from calltune.data.sources import synthetic
from calltune.files.json_lines import write_jsonl
from calltune.models.backends.live import LiveModel
from calltune.models.load import load_model, load_tokenizer
from calltune.training.checkpoints import SealCheckpoints
from calltune.training.guard_checks import Check, check_from, collapse, measures, rank, shown
from calltune.training.guard_questions import GuardQuestion, guard_questions
from calltune.training.guard_time import GuardTime
from calltune.types import BEHAVIORS, Completion, Message, Sample, Tool, ToolCall

TOOL = Tool("book", "Books.", {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]})
CALL = ToolCall("book", {"day": "Monday"})
TEXTS = {"direct": "Paris.", "request_for_info": "Which day do you mean?", "cannot_answer": "I can't do that."}


def question(behavior: str, number: int = 0) -> GuardQuestion:
    gold = Message("assistant", "", (CALL,)) if behavior == "tool_call" else Message("assistant", TEXTS[behavior])
    sample = Sample(f"{behavior}-{number}", "guard", (Message("user", "?"),), (TOOL,), None)
    return GuardQuestion(sample, gold, behavior, False, 8)  # type: ignore[arg-type]


QUESTIONS = [question(behavior, number) for number in range(8) for behavior in BEHAVIORS]
RIGHT = tuple(each.behavior for each in QUESTIONS)


def check(step: int, given: tuple[str, ...], exact: bool = False, num_endless: int = 0) -> Check:
    are_exact = tuple(exact and does == "tool_call" for does in given)
    are_endless = tuple(number < num_endless for number in range(len(given)))
    return Check(step, given, are_exact, are_endless, 0.0)  # type: ignore[arg-type]


def instead(behavior: str, given: str, count: int = 8) -> tuple[str, ...]:
    """All right, but for so many questions of a behaviour."""
    places = [number for number, due in enumerate(RIGHT) if due == behavior][:count]
    return tuple(given if number in places else due for number, due in enumerate(RIGHT))


@pytest.fixture
def chat(tiny_model: Path) -> Chat:
    return Chat(load_tokenizer(str(tiny_model)))


def test_a_class_that_falls_is_a_collapse_and_chance_is_none() -> None:
    start = check(0, RIGHT)
    fallen = collapse(QUESTIONS, start, check(8, instead("tool_call", "direct")), 0.3)
    assert fallen == "the recall of tool_call fell from 1.00 to 0.00 (8 questions)"
    assert collapse(QUESTIONS, start, check(8, instead("tool_call", "direct", 6)), 0.3)
    # Five of five turned wrong: one time in 32 by chance, for one of many comparisons.
    assert collapse(QUESTIONS, start, check(8, instead("tool_call", "direct", 5)), 0.3) == ""
    assert collapse(QUESTIONS, start, check(8, instead("tool_call", "direct")), 1.0) == ""
    # What was never there cannot fall.
    assert collapse(QUESTIONS, check(0, instead("tool_call", "direct")), start, 0.3) == ""


def test_as_many_that_turned_right_are_no_fall() -> None:
    """Two answers of eight changed places with each other in a class: nothing fell."""
    calls = [number for number, due in enumerate(RIGHT) if due == "tool_call"]
    one, other = (
        check(step, tuple("direct" if number in some else due for number, due in enumerate(RIGHT)))
        for step, some in ((0, calls[:4]), (8, calls[4:]))
    )
    assert collapse(QUESTIONS, one, other, 0.01) == ""


def test_a_habit_that_is_unlearned_is_no_fall() -> None:
    """A base model answers everything by a text; when it begins to tell questions apart, it may miss many of these."""
    habit = check(0, tuple("direct" for _ in QUESTIONS))
    learned = check(8, instead("direct", "cannot_answer"))
    assert collapse(QUESTIONS, habit, check(4, instead("tool_call", "malformed")), 0.2) == ""
    assert measures(QUESTIONS, habit)["recall_direct"] == 1.0
    assert measures(QUESTIONS, learned)["recall_direct"] == 0.0
    assert collapse(QUESTIONS, habit, learned, 0.3) == ""


def test_all_classes_together_and_malformed_answers() -> None:
    """Four of each class: none of them falls beyond chance, and all of them do."""
    start = check(0, RIGHT)
    half = tuple("malformed" if number < 16 else due for number, due in enumerate(RIGHT))
    assert collapse(QUESTIONS, start, check(9, half), 0.3) == (
        "behaviour accuracy fell from 1.00 to 0.50 (32 questions), and "
        "the rate of malformed answers rose from 0.00 to 0.50 (32 questions)"
    )
    # A check of fewer questions is compared over these.
    assert collapse(QUESTIONS, start, check(9, half[:4]), 0.3) == ""


def test_a_class_of_few_questions_that_is_lost_whole_is_a_collapse() -> None:
    """Sixteen questions are four of each class: a sign test of four can show nothing."""
    start, lost = check(0, RIGHT[:16]), check(8, instead("tool_call", "direct")[:16])
    assert collapse(QUESTIONS, start, lost, 0.3) == "the recall of tool_call fell from 1.00 to 0.00 (4 questions)"
    assert collapse(QUESTIONS, start, check(8, instead("tool_call", "direct", 3)[:16]), 0.3) == ""
    before = check(0, instead("tool_call", "direct", 1)[:16])
    assert collapse(QUESTIONS, before, lost, 0.3) == ""
    # Two of two may be chance.
    assert collapse(QUESTIONS, check(0, RIGHT[:8]), check(8, instead("tool_call", "direct")[:8]), 0.3) == ""


def test_answers_that_no_longer_end_are_a_collapse() -> None:
    """Read as far as they go, all of them do what they should."""
    start = check(0, RIGHT)
    babble = check(8, RIGHT, num_endless=24)
    rose = "the rate of endless answers rose from 0.00 to 0.75 (32 questions)"
    assert collapse(QUESTIONS, start, babble, 0.3) == rose
    assert measures(QUESTIONS, babble)["endless_rate"] == 0.75
    assert collapse(QUESTIONS, start, check(8, RIGHT, num_endless=8), 0.3) == ""
    # A model that always wrote at length does no worse.
    assert collapse(QUESTIONS, babble, check(8, RIGHT, num_endless=28), 0.3) == ""
    assert check_from(json.loads(json.dumps(babble.as_json()))) == babble


def test_measures_and_rank() -> None:
    found = measures(QUESTIONS, check(3, instead("direct", "tool_call", 4), exact=True))
    assert found["behavior_accuracy"] == 28 / 32
    assert found["needless_call_rate"] == 4 / 24
    assert found["missed_call_rate"] == 0.0
    assert found["exact_call_rate"] == found["recall_tool_call"] == 1.0
    assert found["recall_direct"] == 0.5
    # A malformed call is no missed one.
    assert measures(QUESTIONS, check(3, instead("tool_call", "malformed")))["missed_call_rate"] == 0.0
    later, exact = check(5, RIGHT), check(4, RIGHT, exact=True)
    assert rank(QUESTIONS, exact) > rank(QUESTIONS, later) > rank(QUESTIONS, check(4, RIGHT))
    assert check_from(json.loads(json.dumps(exact.as_json()))) == exact


def test_what_an_answer_does(chat: Chat) -> None:
    ask = question("tool_call")
    messages, tools = ask.sample.messages, ask.sample.tools

    def does(status: str, text: str, message: Message | None = None) -> tuple[str, bool]:
        return shown(chat, ask, Completion("x", message, text, status))  # type: ignore[arg-type]

    assert does("ok", "", ask.gold) == ("tool_call", True)
    assert does("ok", "", Message("assistant", "", (ToolCall("book", {"day": "Friday"}),))) == ("tool_call", False)
    assert does("ok", "", Message("assistant", "", (CALL, CALL))) == ("tool_call", False)
    assert does("malformed", "<tool_call>{") == ("malformed", False)
    # A text that was cut off is read as far as it goes, a call that was cut off is none.
    assert does("truncated", "I can't do that, as I have") == ("cannot_answer", False)
    call = chat.answer(messages, tools, ask.gold)
    assert does("truncated", call[: len(call) // 2]) == ("malformed", False)
    assert does("error", "") == ("malformed", False)


def test_questions_are_balanced_and_held_out_first(chat: Chat, tmp_path: Path) -> None:
    rows = list(synthetic.examples(0, 40))
    held, trained = rows[:8], rows[8:]
    write_jsonl(tmp_path / "validation.jsonl", map(training_row, held))
    write_jsonl(tmp_path / "train.jsonl", map(training_row, trained))
    chosen = guard_questions(tmp_path, chat, 16, 10_000, 200)
    assert Counter(each.behavior for each in chosen) == dict.fromkeys(BEHAVIORS, 4)
    assert {each.behavior for each in chosen[:4]} == set(BEHAVIORS)
    assert {each.sample.id for each in chosen if each.is_held_out} <= {row.id for row in held}
    for behavior in BEHAVIORS:
        # Rows that are trained on come only where the others are used up.
        assert sum(e.is_held_out for e in chosen if e.behavior == behavior) == min(
            4, sum(row.behavior == behavior for row in held)
        )
    # The order of rows is of no account.
    write_jsonl(tmp_path / "train.jsonl", map(training_row, reversed(trained)))
    assert guard_questions(tmp_path, chat, 16, 10_000, 200) == chosen
    # A call that could never be written in full is not asked, nor is a prompt that is too long.
    assert not any(e.behavior == "tool_call" for e in guard_questions(tmp_path, chat, 16, 10_000, 3))
    assert guard_questions(tmp_path, chat, 16, 8, 200) == []


def test_questions_that_rows_contradict_are_left_out(chat: Chat, tmp_path: Path) -> None:
    row = training_row(next(iter(synthetic.examples(0, 4))))
    other = next(b for b in BEHAVIORS if b != row["behavior"])
    write_jsonl(tmp_path / "train.jsonl", [row, {**row, "id": "another", "behavior": other}])
    assert guard_questions(tmp_path, chat, 4, 10_000, 200) == []


@pytest.mark.parametrize("shares", [True, False])
def test_a_model_is_left_as_it_was(chat: Chat, tiny_model: Path, shares: bool) -> None:
    model = load_model(str(tiny_model), torch.float32).train()
    model.get_submodule("model.layers.0").eval()
    modes = [module.training for module in model.modules()]
    own, weights = model.generation_config, {name: each.clone() for name, each in model.state_dict().items()}
    asked = [each.sample for each in QUESTIONS[:4]]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    live = LiveModel(model, chat, 4096, shares=shares)
    answers = live.answer(asked, 5)
    assert torch.equal(torch.rand(2), expected)
    assert [module.training for module in model.modules()] == modes
    assert model.generation_config is own
    assert all(torch.equal(each, weights[name]) for name, each in model.state_dict().items())
    # Of other weights nothing is remembered.
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(-1.5).add_(0.01)
    assert [a.text for a in live.answer(asked, 5)] == [a.text for a in LiveModel(model, chat, 4096).answer(asked, 5)]
    assert [a.text for a in live.answer(asked, 5)] != [a.text for a in answers]
    model(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()


def test_fewer_are_asked_where_time_is_short() -> None:
    clock = GuardTime(0.1, 0.0)
    clock.begin(0, 100, 5)
    # 100 steps of half a second: six checks have five seconds.
    clock._limit = 5 / 6
    assert clock.next_portion(0.05, 4, 4, 28) == 28
    slow = GuardTime(0.1, 0.0)
    slow._limit = 5 / 6
    assert slow.next_portion(0.2, 4, 4, 28) == 4
    assert slow.next_portion(0.2, 4, 8, 24) == 8
    assert slow.next_portion(0.4, 8, 16, 16) == 0
    assert slow.of_check == pytest.approx(0.8)


def test_the_best_checkpoint_is_not_removed(tmp_path: Path) -> None:
    sealing = SealCheckpoints(1, lambda: 2)
    for step in (1, 2, 3, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
        state = SimpleNamespace(global_step=step, best_model_checkpoint=None)
        sealing.on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.parametrize("key", ["guard.keep='best'", "guard.on_collapse='best'"])
def test_two_words_on_which_checkpoint_is_kept_are_refused(
    write_run_file: Callable[..., Path], capsys: pytest.CaptureFixture[str], key: str
) -> None:
    words = [str(write_run_file()), "data.validation_fraction=0.2", key]
    assert main(["prepare", *words]) == 0
    best = ["sft.load_best_model_at_end=true", "sft.save_strategy='epoch'", "sft.eval_strategy='epoch'"]
    assert main(["sft", *words, *best]) == 2
    assert "each say which checkpoint is kept" in capsys.readouterr().err

"""What the page tells of mining."""

from calltune.report.page.tables import mining_tables

STATISTICS = {
    "num_questions": 1200,
    "num_answers": 2400,
    "num_right": 1500,
    "num_undecided": 0,
    "num_wrong": {"missed_call": 300, "needless_call": 600, "wrong_tool": 0},
    "num_questions_with": {"missed_call": 200, "needless_call": 400, "wrong_tool": 0},
    "num_mined_by_error": {"missed_call": 150, "needless_call": 150, "wrong_tool": 0},
    "num_mined": 300,
    "num_chosen_own": 120,
    "num_given": 30,
    "num_pairs": 330,
    "num_not_paired": {"cut off": 2, "nearly the same as another": 0},
    "easy": ["a", "b"],
    "never_right": ["c"],
}


def test_mistakes_come_by_number_with_what_became_of_them() -> None:
    (told,) = mining_tables({"mined": STATISTICS})
    assert told["name"] == "mined"
    assert told["mistakes"] == [("needless call", 600, 0.25, 400, 150), ("missed call", 300, 0.125, 200, 150)]
    assert told["notes"] == [
        "1,200 questions, 2,400 answers: 1,500 are right, 0 undecided.",
        "2 questions are always answered rightly, 1 never.",
        "330 pairs: 300 mined, the chosen answer the model's own in 120 of them, and 30 given.",
        "In no pair: 2 cut off.",
    ]


def test_without_mining_there_is_nothing_to_tell() -> None:
    assert mining_tables({}) == []

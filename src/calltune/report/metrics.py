"""What the metrics are called, which way is better, and what they mean; `docs/evaluation.md` has the definitions."""

MEANINGS = {
    "acc_norm": "the right option is the likeliest per character",
    "acc": "the right option is the likeliest in sum",
    "macro_f1": "mean F1 over the classes",
    "macro_f1_norm": "mean F1 over the classes, per character",
    "hallucination_rate": "a call wins though there is no tool; less is better",
    "hallucination_rate_norm": "the same, per character; less is better",
    "baseline_option_reading": "a rule that reads the options, without any model",
    "baseline_majority": "always the most frequent class",
    "behavior_accuracy": "writing freely, it does the right kind of thing",
    "malformed_rate": "broken calls; less is better",
    "truncated_rate": "cut off before the end; less is better",
    "exact_call_rate": "a due call is exactly the expected one",
    "macro_accuracy": "mean accuracy over the classes, by the judge",
    "accuracy": "share of right answers, by the judge",
    "empty_rate": "nothing was written; less is better",
    "overall_ast": "right calls: mean of non-live and live",
    "non_live_ast": "right calls, BFCL's own questions",
    "live_ast": "right calls, users' questions",
    "irrelevance_mean": "no call where none fits",
    "overall_single_turn": "mean of the three above",
}
"""By metric; those that stand here are shown first, in the order of the benchmark, the others folded away."""


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better: of all that are called a rate, but for that of exact calls."""
    return metric.startswith("hallucination_rate") or (metric.endswith("_rate") and metric != "exact_call_rate")


PHRASES = {
    "acc_norm": "picking the right one of four written answers",
    "behavior_accuracy": "doing the right thing when it writes freely",
    "macro_accuracy": "doing the right thing in the judge's eyes",
    "overall_ast": "making the right calls",
    "malformed_rate": "more broken calls",
    "truncated_rate": "more answers cut off",
    "empty_rate": "more empty answers",
    "hallucination_rate": "more calls where there is no tool",
    "hallucination_rate_norm": "more calls where there is no tool",
}
"""Plain words for a metric that is named in the sentence; others go by their own name."""

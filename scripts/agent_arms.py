"""What each arm of agent_seeds.py changes of the run file, the most telling first; None takes a table out."""

from typing import Any

GRPO = {
    "max_steps": 30,
    "per_device_train_batch_size": 64,
    "num_generations": 8,
    "max_completion_length": 64,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 3,
    "beta": 0.02,
}
ARMS: dict[str, dict[str, Any]] = {
    "dpo": {},
    "no pair given": {"mine.given_share": 0.0},
    "even calls": {"mine.even_calls": True, "mine.given_share": 0.0},
    "grpo": {"stages": ["sft", "grpo"], "mine": None, "dpo": None, "grpo": GRPO},
    "all given": {"mine": None},
    "half given": {"mine.given_share": 0.5},
    "three times the rate": {"dpo.learning_rate": 3e-5},
    "sigmoid alone": {"dpo.loss_type": ["sigmoid"], "dpo.loss_weights": [1.0]},
    "a third of the rate": {"dpo.learning_rate": 3e-6},
    "even calls, three times the rate": {
        "mine.even_calls": True,
        "mine.given_share": 0.0,
        "dpo.learning_rate": 3e-5,
    },
    "ipo alone": {"dpo.loss_type": ["ipo"], "dpo.loss_weights": [1.0]},
    "grpo, three times the rate": {
        "stages": ["sft", "grpo"],
        "mine": None,
        "dpo": None,
        "grpo": {**GRPO, "learning_rate": 3e-5},
    },
    "twice over the pairs": {"dpo.num_train_epochs": 2},
    "sigmoid_norm alone": {"dpo.loss_type": ["sigmoid_norm"], "dpo.loss_weights": [1.0]},
    "beta 0.3": {"dpo.beta": 0.3},
    "beta 0.03": {"dpo.beta": 0.03},
    "three quarters given": {"mine.given_share": 0.75},
}

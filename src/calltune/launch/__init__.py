"""Where a run happens: each module starts processes that run one verb. `--on NAME` chooses; `local` is this machine."""

IN_PROCESSES = ("sft", "mine", "dpo", "grpo", "evaluate")
"""The verbs that run in the processes of `[launch]`; `run` launches each of them, and does the others in one."""

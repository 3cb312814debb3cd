"""Amazon SageMaker: each stage is a training job, asked for through boto3; `container.py` is what runs inside it.

```
prepare, here ──▶ channels: code, data ──▶ job sft ──▶ job dpo, grpo, on that ──▶ job evaluate ──▶ fetch, report, here
```

A job is named `<run>-<stage>-<hash of all that goes into it>-<n>`. Asked for again, a job that runs or is complete is
taken as it is; one that failed or was stopped gets a successor, `n + 1`, on the same checkpoints.
"""

"""Questions and scorers: what a checkpoint is asked, what it answered, and which share of it was right.

`benchmarks` is the family of questions; `jobs` opens them from the run file, `answers` keeps what was answered.
"""

"""Rows to train on: read from sources, derived from calls, examined by the doctor, written in one layout.

Rows go one way: `sources` -> `preparation` -> `doctor` -> `data/*.jsonl`.
"""

"""Rows to checked training data: `calltune prepare`, doctor on, against the naive way, in one process, on one thread.

    python bench/prepare.py [--quick] [--rows N]

The naive way is what a TRL trainer does with the same rows, already in its layout: `datasets` reads them, and
`Dataset.map` writes and tokenizes prompt, and prompt with each answer, row by row. Ours reads the published layout,
does the same, and examines, judges, splits and writes the rows beside it. Compared are the process's CPU seconds,
ours with one worker. With `--rows` also `calltune prepare` as a user runs it, twice: seconds, peak memory of all its
processes together, each page of it counted once, and whether both wrote the same bytes. The rows are the real ones
where they are at hand (CALLTUNE_SHARED_DATA), with Qwen3's tokenizer, else made-up ones in When2Call's layout. The
last line is a JSON object.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("CALLTUNE_SHARED_DATA") or ROOT.parent / "shared" / "data")
QUICK_ROWS = {"train_sft": 600, "train_pref": 360}
ALL_ROWS = {"train_sft": 15_000, "train_pref": 9_000}


def write_rows(folder, rows):
    """`train_sft.jsonl` and `train_pref.jsonl` in When2Call's layout, and a model's folder without weights."""
    model = folder / "model"
    model.mkdir()
    real = (SHARED / "when2call").is_dir() and (SHARED / "qwen3").is_dir()
    tokenizer = SHARED / "qwen3" if real else ROOT / "examples" / "tiny-qwen3"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, model / name)
    for split, count in rows.items():
        with (folder / f"{split}.jsonl").open("w") as file:
            if real:
                with (SHARED / "when2call" / f"{split}.jsonl").open() as lines:
                    file.writelines(islice(lines, count))
            else:
                file.writelines(json.dumps(row) + "\n" for row in made_up(split, count))
    return model, real


def made_up(split, count):
    from calltune.data.sources import synthetic

    def text(message):
        calls = [asdict(call) for call in message.tool_calls]
        return f"<TOOLCALL>{json.dumps(calls)}</TOOLCALL>" if calls else message.content

    def said(messages):
        return [{"role": m.role, "content": text(m)} for m in messages]

    if split == "train_sft":
        for row in synthetic.examples(0, count):
            yield {"tools": [asdict(t) for t in row.tools], "messages": said(row.messages)}
        return
    for row in synthetic.preferences(0, count):
        chosen, rejected = said((row.chosen, row.rejected))
        tools = [asdict(tool) for tool in row.tools]
        yield {"tools": tools, "messages": said(row.prompt), "chosen_response": chosen, "rejected_response": rejected}


def write_run_file(folder, model):
    sources = "".join(
        f'[[data.sources]]\nname = "when2call"\npath = "{folder}"\nsplit = "{split}"\n' for split in ALL_ROWS
    )
    file = folder / "run.toml"
    file.write_text(f'name = "bench"\nmodel = "{model}"\noutput = "{folder}/runs"\n{sources}')
    return file


def ours(file):
    from calltune.config.run_file import load_config
    from calltune.verbs import prepare

    start = time.process_time()
    folder = prepare.run(load_config(file, ["data.workers=1"]))
    return time.process_time() - start, folder


def peer(data, model, cache):
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokenize(row):
        keys = {"tools": json.loads(row["tools"]) if row["tools"] else None, **row["chat_template_kwargs"]}
        prompt = row["prompt"] if "prompt" in row else row["messages"][:-1]
        answers = [row["chosen"], row["rejected"]] if "prompt" in row else [row["messages"][-1:]]
        first = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True, **keys)["input_ids"]
        wholes = [tokenizer.apply_chat_template(prompt + a, return_dict=True, **keys)["input_ids"] for a in answers]
        return {"prompt_ids": first, "answer_ids": [whole[len(first) :] for whole in wholes]}

    start, count = time.process_time(), 0
    for name in ("train", "preferences"):
        rows = datasets.load_dataset(
            "json", data_files=str(data / f"{name}.jsonl"), split="train", cache_dir=str(cache)
        )
        count += len(rows.map(tokenize, remove_columns=rows.column_names))
    return time.process_time() - start, count


def processes_below(pid):
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(inner for child in children for inner in processes_below(child))]


def megabytes(pid):
    """What a process takes of the memory; pages that several share, as a fork and its parent do, are divided."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0.0


def as_a_user(file, workers):
    """Seconds, peak megabytes of all processes together, and a hash of what was written."""
    shutil.rmtree(file.parent / "runs", ignore_errors=True)
    command = [sys.executable, "-m", "calltune", "prepare", str(file), f"data.workers={workers}"]
    start, peak = time.monotonic(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(map(megabytes, processes_below(process.pid))))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(process.returncode)
    digest = hashlib.sha256()
    for path in sorted((file.parent / "runs" / "bench" / "data").glob("*.jsonl")):
        digest.update(path.read_bytes())
    return time.monotonic() - start, peak, digest.hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few rows only: under 50 s")
    parser.add_argument("--rows", action="store_true", help="all 24,000 rows, as a user runs it, twice")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, real = write_rows(folder, ALL_ROWS if options.rows else QUICK_ROWS)
        file = write_run_file(folder, model)
        told = {}
        if options.rows and not options.quick:
            runs = [as_a_user(file, workers) for workers in (2, 4)]
            told = {
                "seconds_2_workers": round(runs[0][0], 1),
                "peak_megabytes_2_workers": round(runs[0][1]),
                "peak_megabytes_4_workers": round(runs[1][1]),
                "same_bytes": runs[0][2] == runs[1][2],
            }
            shutil.rmtree(folder / "runs")
        # Loaded before either is timed, which also keeps our tokenizer from being loaded in a process of its own.
        import datasets  # noqa: F401

        import calltune.models.load  # noqa: F401

        our_seconds, data = ours(file)
        peer_seconds, count = peer(data, model, folder / "cache")
        result = {
            "name": "prepare",
            "ratio": round(peer_seconds / our_seconds, 2),
            "peer": "datasets.map with apply_chat_template, as TRL's trainers do; nothing is examined",
            "cpu_seconds": round(our_seconds, 2),
            "cpu_seconds_peer": round(peer_seconds, 2),
            "rows": count,
            "real_rows": real,
            **told,
            "versions": {p: version(p) for p in ("trl", "transformers", "datasets", "tokenizers")},
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

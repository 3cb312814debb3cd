"""Record what lm-eval and NVIDIA's own prompt code say about When2Call: writes `lm_eval_when2call.json`.

    python make_lm_eval.py --when2call CLONE --shared-data FOLDER

It needs lm_eval 0.4.13, a clone of github.com/NVIDIA/When2Call (Apache-2.0) and, for the real rows, the folder with
`when2call/nvidia_test_dev.jsonl` and `qwen3/`. Real rows are named by uuid, digests and lengths, never copied.
Not part of the test run: the tests read the file and need neither.
"""

import argparse
import hashlib
import importlib.util
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy
import torch
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from tiny_models import tiny_qwen3, toy_tokenizer
from toy_when2call import TOY_ROWS
from transformers import AutoTokenizer

HERE = Path(__file__).parent
FAMILIES = ("default", "functionary", "hermes", "llama3_2", "qwen2_5", "xlam")
PROMPT_CODE = "evaluation/mcq/lm_eval_harness/when2call/utils.py"
PROMPT_CODE_SHA256 = "354d0a113cc09b42c802b25786ad2c5e6751aa23c350bb2c2eecd5f8e5a56f72"
NUM_REAL_ROWS = 20
LONGEST_TOOLS = 5000  # characters: lm-eval keeps a whole row of the vocabulary for every token of the prompt


def task(family, rows_file, process_docs):
    """NVIDIA's `when2call-<family>.yaml` as data, less `macro_f1`, which no public lm-eval knows."""
    return {
        "task": f"when2call-{family}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": str(rows_file)},
        "test_split": "train",
        "process_docs": process_docs,
        "doc_to_text": "prompt",
        "doc_to_target": "target_index",
        "doc_to_choice": "choices",
        "target_delimiter": "",
        "output_type": "multiple_choice",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
        ],
    }


def official_prompts(clone):
    """NVIDIA's module, refused when it is not the pinned text."""
    path = clone / PROMPT_CODE
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != PROMPT_CODE_SHA256:
        raise SystemExit(f"{path} has SHA-256 {found}, expected {PROMPT_CODE_SHA256}")
    spec = importlib.util.spec_from_file_location("when2call_official", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digest(prompt, choices):
    """SHA-256 over prompt and choices, each preceded by its length in UTF-8 bytes."""
    total = hashlib.sha256()
    for text in (prompt, *choices):
        raw = text.encode()
        total.update(f"{len(raw)}:".encode() + raw)
    return total.hexdigest()


def selected(rows):
    """Rows with unusual text or values first, then evenly over the file."""
    fitting = [row for row in rows if sum(map(len, row["tools"])) <= LONGEST_TOOLS]

    def odd(row):
        values = json.loads(row["answers"]["tool_call"])["arguments"].values()
        return (
            not row["question"].isascii()
            or row["question"] != row["question"].strip()
            or any(isinstance(value, (dict, list, float)) for value in values)
        )

    chosen = [row for row in fitting if odd(row)][: NUM_REAL_ROWS // 2]
    rest = [row for row in fitting if row not in chosen]
    missing = NUM_REAL_ROWS - len(chosen)
    chosen += [rest[index * len(rest) // missing] for index in range(missing)]
    return sorted(chosen, key=lambda row: row["uuid"])


def with_prompts(rows, process_docs, cache):
    """The rows after NVIDIA's own `process_docs`, through `datasets` as lm-eval loads them."""
    from datasets import load_dataset

    return list(process_docs(load_dataset("json", data_files=str(rows), split="train", cache_dir=cache)))


def measure(name, model, tokenizer, rows_file, official):
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=1, device="cpu")
    records, totals = [], {}
    for family in FAMILIES:
        config = task(family, rows_file, getattr(official, f"process_docs_{family}"))
        found = simple_evaluate(model=lm, tasks=[config], num_fewshot=0, bootstrap_iters=0, log_samples=True)
        totals[family] = {metric: found["results"][config["task"]][f"{metric},none"] for metric in ("acc", "acc_norm")}
        for sample in sorted(found["samples"][config["task"]], key=lambda sample: sample["doc_id"]):
            doc = sample["doc"]
            sums = [float(answer[0]) for answer in sample["filtered_resps"]]
            lengths = [len(choice) for choice in doc["choices"]]
            records.append(
                {
                    "tokenizer": name,
                    "family": family,
                    "row": doc["uuid"],
                    "prompt_sha256": hashlib.sha256(doc["prompt"].encode()).hexdigest(),
                    "choice_lengths": lengths,
                    "target": doc["target_index"],
                    "loglikelihoods": sums,
                    "argmax": int(numpy.argmax(sums)),
                    "argmax_norm": int(numpy.argmax(numpy.array(sums) / numpy.array(lengths, dtype=float))),
                    "acc": sample["acc"],
                    "acc_norm": sample["acc_norm"],
                }
            )
    return records, totals


def write(gold, path):
    """One record a line, so that a change shows as the rows it touches."""
    parts = {name: json.dumps(value) for name, value in gold.items()}
    parts["records"] = "[\n" + ",\n".join(json.dumps(record) for record in gold["records"]) + "\n]"
    body = ",\n".join(f"{json.dumps(name)}: {text}" for name, text in parts.items())
    path.write_text("{" + body + "}\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--when2call", type=Path, required=True)
    parser.add_argument("--shared-data", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    official = official_prompts(arguments.when2call)
    real_path = arguments.shared_data / "when2call" / "nvidia_test_dev.jsonl"
    real = [json.loads(line) for line in real_path.read_text(encoding="utf-8").splitlines()]
    qwen3 = AutoTokenizer.from_pretrained(arguments.shared_data / "qwen3")
    toy = toy_tokenizer()
    gold = {
        "made_by": {
            "prompts": f"NVIDIA/When2Call {PROMPT_CODE}, SHA-256 {PROMPT_CODE_SHA256}",
            "packages": {
                name: version(name) for name in ("lm_eval", "torch", "transformers", "tokenizers", "datasets")
            },
            "python": platform.python_version(),
        },
        "digests": {},
        "records": [],
        "totals": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        all_rows = Path(folder) / "all.jsonl"
        for name, rows, tokenizer, size in (
            ("toy", TOY_ROWS, toy, len(toy)),
            ("qwen3", selected(real), qwen3, 151936),
        ):
            rows_file = Path(folder) / f"{name}.jsonl"
            rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            records, totals = measure(name, tiny_qwen3(size), tokenizer, rows_file, official)
            gold["records"] += records
            gold["totals"][name] = totals
        all_rows.write_text("".join(json.dumps(row) + "\n" for row in [*TOY_ROWS, *real]), encoding="utf-8")
        for family in FAMILIES:
            docs = with_prompts(all_rows, getattr(official, f"process_docs_{family}"), folder)
            gold["digests"][family] = {doc["uuid"]: digest(doc["prompt"], doc["choices"])[:16] for doc in docs}
    write(gold, HERE / "lm_eval_when2call.json")


if __name__ == "__main__":
    main()

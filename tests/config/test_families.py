"""Every module of a family has what its protocol declares: pyright reads this file, and says where one does not."""

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from calltune.config.entries import Family
from calltune.data.sources import SOURCES
from calltune.evaluation.benchmarks import BENCHMARKS
from calltune.models.backends import BACKENDS

if TYPE_CHECKING:
    import calltune.data.sources.agent.source
    import calltune.data.sources.auto
    import calltune.data.sources.chat_jsonl
    import calltune.data.sources.openai_traces
    import calltune.data.sources.sharegpt
    import calltune.data.sources.synthetic.source
    import calltune.data.sources.when2call
    import calltune.data.sources.xlam
    import calltune.evaluation.benchmarks.bfcl
    import calltune.evaluation.benchmarks.decide
    import calltune.evaluation.benchmarks.when2call
    import calltune.evaluation.benchmarks.when2call_generation
    import calltune.evaluation.benchmarks.when2call_judge
    import calltune.models.backends.hf
    import calltune.models.backends.openai
    import calltune.models.backends.vllm
    from calltune.data.sources import SourceModule
    from calltune.evaluation.benchmarks import BenchmarkModule
    from calltune.models.backends import BackendModule

    source: SourceModule
    source = calltune.data.sources.agent.source
    source = calltune.data.sources.auto
    source = calltune.data.sources.chat_jsonl
    source = calltune.data.sources.openai_traces
    source = calltune.data.sources.sharegpt
    source = calltune.data.sources.synthetic.source
    source = calltune.data.sources.when2call
    source = calltune.data.sources.xlam
    benchmark: BenchmarkModule
    benchmark = calltune.evaluation.benchmarks.bfcl
    benchmark = calltune.evaluation.benchmarks.decide
    benchmark = calltune.evaluation.benchmarks.when2call
    benchmark = calltune.evaluation.benchmarks.when2call_generation
    benchmark = calltune.evaluation.benchmarks.when2call_judge
    backend: BackendModule
    backend = calltune.models.backends.hf
    backend = calltune.models.backends.openai
    backend = calltune.models.backends.vllm


def test_no_module_of_a_family_is_forgotten() -> None:
    tree = ast.parse(Path(__file__).read_text())
    checked = {
        (ast.unparse(node.targets[0]), ast.unparse(node.value))
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.Assign)
    }
    families: tuple[Family, ...] = (SOURCES, BENCHMARKS, BACKENDS)
    assert checked == {(family.kind, path) for family in families for path in family.modules.values()}

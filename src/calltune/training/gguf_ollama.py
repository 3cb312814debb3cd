"""An Ollama `Modelfile` beside GGUF files: its template is proved by Go, and what Ollama's JSON does is measured."""

from collections.abc import Collection, Sequence
from pathlib import Path

from calltune.calling.chat import Chat
from calltune.calling.differences import difference
from calltune.calling.ollama import OllamaTemplate, modelfile, ollama_template
from calltune.calling.ollama_json import is_joined_by_ollama, ollama_values
from calltune.errors import ModelError
from calltune.models.go_templates import can_render, render_all
from calltune.models.llama_cpp import LlamaCpp
from calltune.runtime.terminal import say
from calltune.training.gguf_proof import Asked, Paired, ask_all, pair
from calltune.types import Completion

MODELFILE = "Modelfile"


def write_modelfile(
    chat: Chat,
    file: LlamaCpp,
    ends: Collection[int],
    weights: Sequence[str],
    prompts: Sequence[Asked],
    f16: Sequence[Completion],
    context: int,
    folder: Path,
) -> Paired:
    """Write a `Modelfile` that keeps the tools, and return how the model answers prompts as Ollama writes them.

    Args:
        file: of the weights in f16, loaded.
        ends: the ids of the tokens that may end an answer.
        weights: the names of the GGUF files; the last is served.
        prompts: of the run's own; `f16` are the answers to the first of them.
        context: how many tokens of a conversation are kept.

    Raises:
        ModelError: why there is none.
    """
    if not can_render():
        raise ModelError("the package 'py-go-template', with which its template is proved, is not installed")
    if any(chat.for_answers((asked.answer,)).thinks for asked in prompts):
        raise ModelError("the model was taught to think, for which there is no template yet")
    template = ollama_template(chat)
    require_same_text(chat, template, prompts)
    asked = [
        (question, answer)
        for question, answer in zip(prompts, f16, strict=False)
        if not is_joined_by_ollama(question.messages)
    ]
    questions = [question for question, _ in asked]
    texts = render_all(template.text, [ollama_values(each.messages, each.tools) for each in questions])
    answers = ask_all(chat, file, ends, questions, [file.tokens(text) for text in texts], "f16 as Ollama writes")
    found = pair(questions, [answer for _, answer in asked], answers)
    if found.is_worse:
        raise ModelError(
            f"with prompts as Ollama writes them it {found.sentence()}, which is more than chance explains"
        )
    text = modelfile(template, weights, chat.tokenizer.convert_ids_to_tokens(sorted(ends)), context)
    (folder / MODELFILE).write_text(text, encoding="utf-8")
    return found


def require_same_text(chat: Chat, template: OllamaTemplate, prompts: Sequence[Asked]) -> None:
    """Hold what Go writes with the Ollama template against what the model was taught with, letter by letter.

    Conversations that Ollama changes before its template sees them are left out, and their number is told.

    Raises:
        ModelError: a conversation is written otherwise, or none could be held against it.
    """
    held = [asked for asked in prompts if not is_joined_by_ollama(asked.messages)]
    if not held:
        raise ModelError("each of the run's conversations is one that Ollama changes before its template sees it")
    texts = render_all(template.text, [template.values(asked.messages, asked.tools) for asked in held])
    for number, (asked, theirs) in enumerate(zip(held, texts, strict=True)):
        ours = asked.prompt(chat)
        if ours != theirs:
            before, taught, written = difference(ours, theirs)
            raise ModelError(
                f"its template writes prompt {number + 1} of {len(held)} otherwise than the model was taught: behind "
                f"{before} it writes {written} instead of {taught}"
            )
    left_out = f"; {len(prompts) - len(held)} that Ollama changes are left out" if len(held) < len(prompts) else ""
    say(f"gguf: the Modelfile's template writes {len(held)} prompts as the model was taught{left_out}")

from pathlib import Path

import pytest
import trl

from calltune.calling.chat import Chat
from calltune.calling.template_proof import Proof, Written, prove_template
from calltune.data.sources import synthetic
from calltune.errors import ModelError
from calltune.models.load import load_tokenizer
from calltune.types import Example, Message, Tool, ToolCall

OWN = Path(__file__).parents[1] / "material" / "templates"
STORED = Path(trl.__path__[0]) / "chat_templates"
TOOL = Tool("find_city", "Find a city.", {"type": "object", "properties": {"name": {"type": "string"}}})
QUESTION = Message("user", "Where is Überlingen?")
CALL = Message("assistant", "", (ToolCall("find_city", {"name": "Überlingen"}),))
RESULT = Message("tool", '{"lat": 47.77}')


def chat_with(tiny_model: Path, template: str) -> Chat:
    tokenizer = load_tokenizer(str(tiny_model))
    # The tiny vocabulary knows one token that ends a turn.
    tokenizer.chat_template = template.replace("<|eot_id|>", "<|im_end|>")
    return Chat(tokenizer, "toy")


FAMILIES = {
    "qwen3": STORED / "qwen3.jinja",
    "qwen3-2507": STORED / "qwen3_instruct_2507.jinja",
    "qwen2.5": STORED / "qwen2_5.jinja",
    "llama-3.1": STORED / "llama3_1.jinja",
    "llama-3.2": STORED / "llama3_2.jinja",
    "hermes": OWN / "hermes.jinja",
    "smollm": OWN / "smollm.jinja",
    "mistral": OWN / "mistral.jinja",
    "a last result written otherwise": OWN / "last_result.jinja",
    "arguments as text": OWN / "functionary.jinja",
}
SINGLE = (
    "the chat template does not write several calls in one answer so that they can be taught, and rows with them are "
    "rejected: its chat template refuses a conversation: This model only supports single tool-calls at once!"
)
NOTES = {
    "a last result written otherwise": (
        "the chat template changes the prompt once it is answered: after a message of the tool, behind "
        "'nse>\\nProbe result 9917.\\n</tool_response>' it writes '\\n' instead of ''; answers are trained after "
        "the prompt as it is served",
    ),
    "llama-3.1": (SINGLE,),
    "llama-3.2": (SINGLE,),
    "mistral": (
        "the chat template does not write answers after a system message so that they can be taught, and rows with "
        "them are rejected: its chat template refuses a conversation: a system message is not taken",
    ),
    "arguments as text": (
        "the chat template takes a call's arguments as JSON text, not as an object; they are written so",
    ),
}


@pytest.fixture(params=list(FAMILIES))
def chat(request: pytest.FixtureRequest, tiny_model: Path) -> Chat:
    return chat_with(tiny_model, FAMILIES[request.param].read_text(encoding="utf-8"))


def example(*messages: Message) -> Example:
    return Example("1", "s", messages, (TOOL,), "direct")


def test_families_pass(request: pytest.FixtureRequest, chat: Chat) -> None:
    assert prove_template(chat) == NOTES.get(request.node.callspec.params["chat"], ())


def test_labels_are_the_answer_and_its_end_and_nothing_else(chat: Chat) -> None:
    """In one turn and after a tool's result, as TRL's trainers find them: what prompt and whole have in common."""
    for row in (
        example(QUESTION, CALL),
        example(QUESTION, Message("assistant", "By the lake.")),
        example(QUESTION, CALL, RESULT, Message("assistant", "At 47.77.")),
        example(QUESTION, CALL, RESULT, Message("assistant", "At 47.77."), Message("user", "And Ulm?"), CALL),
    ):
        written = Proof(chat).row(row)
        assert isinstance(written, Written)
        (before, _), (trained, is_trained) = Proof(chat).pieces(written.prompt, written.answers[0])
        assert is_trained
        assert (before, trained) == (written.prompt, written.answers[0])
        assert trained.endswith(chat.tokenizer.eos_token)
        assert "lat" not in trained
        assert trained.count(chat.tokenizer.eos_token) == 1
        ids = chat.tokenizer(written.prompt + written.answers[0]).input_ids
        assert len(ids) == written.num_prompt_tokens + written.num_answer_tokens[0]
        assert chat.tokenizer.decode(ids[written.num_prompt_tokens :]) == written.answers[0]


def test_pairs_share_one_prompt(chat: Chat) -> None:
    for pair in synthetic.preferences(0, 12):
        written = Proof(chat).row(pair)
        assert isinstance(written, Written)
        prompt, (chosen, rejected) = chat.prompt_and_answers(pair.prompt, pair.tools, pair.answers)
        assert (written.prompt, written.answers) == (prompt, (chosen, rejected))
        assert len(written.num_answer_tokens) == 2


def test_the_short_way_to_count_tokens_is_the_long_way(chat: Chat) -> None:
    proof = Proof(chat)
    for row in synthetic.examples(0, 40):
        written = proof.row(row)
        assert isinstance(written, Written)
        prompt, whole = chat.tokenizer([written.prompt, written.prompt + written.answers[0]]).input_ids
        assert (written.num_prompt_tokens, sum(written.num_answer_tokens)) == (len(prompt), len(whole) - len(prompt))


CHATML = OWN / "hermes.jinja"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tool.function | tojson", "tool.function | tojson ~ tool.function.description", "writes the tools 2 times"),
        (
            "{%- if tools %}",
            "{%- if tools and messages[0].role != 'system' %}",
            "leaves out the tools after a system message",
        ),
        (
            "and message.tool_calls %}",
            "and loop.last and message.tool_calls %}",
            "leaves out an earlier call after a call",
        ),
        ("\\n' + message.content + '\\n</tool_r", "\\n</tool_r", "leaves out a message of the tool after a call"),
        ("<tool_call>", "<call>", "writes tool calls in a way that calltune cannot read back"),
        ("<|im_end|>\\n' }}\n    {%- endif", "END\\n' }}\n    {%- endif", "does not end with the end-of-seq"),
        ("call.function.arguments | tojson", "call.function.arguments | tojson | tojson", "cannot read back"),
    ],
)
def test_what_a_template_may_not_do(tiny_model: Path, old: str, new: str, message: str) -> None:
    text = CHATML.read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ModelError, match=message):
        prove_template(chat_with(tiny_model, text.replace(old, new)))


def test_a_row_that_a_template_does_not_take_is_told_in_its_words(tiny_model: Path) -> None:
    llama = Proof(chat_with(tiny_model, FAMILIES["llama-3.2"].read_text()))
    two = Message("assistant", "", CALL.tool_calls * 2)
    assert "This model only supports single tool-calls at once" in str(llama.row(example(QUESTION, two)))
    beside = Message("assistant", "Let me see.", CALL.tool_calls)
    assert llama.row(example(QUESTION, beside)) == (
        "the text of its answer is read back as another text beside the call: "
        "behind '' stands 'Let me see.' and '' is read"
    )
    mistral = Proof(chat_with(tiny_model, FAMILIES["mistral"].read_text()))
    assert "a system message is not taken" in str(mistral.row(example(Message("system", "s"), QUESTION, CALL)))

"""The prompts that NVIDIA's published When2Call scores were measured with, one layout for each family of models.

They are typed out by hand in NVIDIA/When2Call (Apache-2.0), evaluation/mcq/lm_eval_harness/when2call/utils.py (git blob
378f312e), for lm-eval tasks with an empty target delimiter. They are the measured instrument, so their text is kept
byte for byte, with its spaces at line ends, its slips of grammar, and calls spelled unlike the models' own: Qwen's
without `<tool_call>` tags, functionary's with every value in quotes. `tests/gold/make_lm_eval.py` records what that
file writes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from calltune.calling.families import PromptFamily
from calltune.errors import DataError
from calltune.files.json_lines import parse_object, require
from calltune.types import BEHAVIORS, Behavior

FAMILIES: tuple[PromptFamily, ...] = get_args(PromptFamily)


@dataclass(frozen=True, slots=True)
class _Layout:
    """A prompt is `before_tools + tools + before_question + question + end`."""

    before_tools: str
    tools: Callable[[Sequence[str], str], str]
    before_question: str
    end: str
    call: Callable[[str, str], str]


def official_prompt(
    family: PromptFamily, question: str, tools: Sequence[str], answers: Mapping[str, str], where: str
) -> tuple[str, dict[Behavior, str]]:
    """The prompt and the four texts whose log-likelihood after it is compared, in When2Call's order.

    The arguments are a row's `question`, `tools` and `answers` as published, the tools and the call as JSON text.
    The prompt may end in white space, which lm-eval scores with the choice (`calltune.models.backends.tokens`); the
    length that `acc_norm` divides by is that of the choice alone, in characters.

    Raises:
        DataError: an answer is missing or empty, or a tool or the call is not JSON of the needed fields; begins with
            `where`.
    """
    layout = _LAYOUTS[family]
    choices: dict[Behavior, str] = {}
    for behavior in BEHAVIORS:
        text = require(answers, behavior, str, f"{where}: answers")
        if not text:
            raise DataError(f"{where}: answers: '{behavior}' is empty")
        choices[behavior] = layout.call(text, f"{where}: answers.tool_call") if behavior == "tool_call" else text
    return layout.before_tools + layout.tools(tools, where) + layout.before_question + question + layout.end, choices


def _tagged(tools: Sequence[str], where: str) -> str:
    return "\n\n".join(f"<tool>{tool}</tool>" for tool in tools)


def _one_per_line(tools: Sequence[str], where: str) -> str:
    return "\n".join(tools).strip()


def _one_json_list(tools: Sequence[str], where: str) -> str:
    return json.dumps(
        [parse_object(tool, f"{where}: tools[{number}]") for number, tool in enumerate(tools)], allow_nan=False
    )


def _spaced(tools: Sequence[str], where: str) -> str:
    return " ".join(tools)


def _python_list(tools: Sequence[str], where: str) -> str:
    return repr(list(tools))


def _introduced(tools: Sequence[str], where: str) -> str:
    parts = []
    for number, text in enumerate(tools):
        place = f"{where}: tools[{number}]"
        tool = parse_object(text, place)
        name, description = require(tool, "name", str, place), require(tool, "description", str, place)
        parts.append(f"Use the function '{name}' to '{description}'\n{text}\n\n")
    return "".join(parts)


def _bare_call(text: str, where: str) -> str:
    return text


def _hermes_call(text: str, where: str) -> str:
    return f"<tool_call>{text}\n</tool_call>"


def _xlam_call(text: str, where: str) -> str:
    return '{\n\t"tool_calls": [\n\t' + text + "\n\t]\n}"


def _pythonic_call(text: str, where: str) -> str:
    call = parse_object(text, where)
    arguments = require(call, "arguments", dict, where)
    # Strings stand between quotes without escapes; all else is spelled by Python, so true is True.
    spelled = [
        f'{name}="{value}"' if isinstance(value, str) else f"{name}={value}" for name, value in arguments.items()
    ]
    return f"[{require(call, 'name', str, where)}({', '.join(spelled)})]"


def _functionary_call(text: str, where: str) -> str:
    call = parse_object(text, where)
    arguments = require(call, "arguments" if "arguments" in call else "parameters", dict, where)
    spelled = ", ".join(f'"{name}": "{json.dumps(value, allow_nan=False)}"' for name, value in arguments.items())
    return f"<function={require(call, 'name', str, where)}>{{{spelled}}}</function>"


_CALL_SCHEMA = (
    '{"properties": {"arguments": {"title": "Arguments", "type": "object"}, '
    '"name": {"title": "Name", "type": "string"}}, '
    '"required": ["arguments", "name"], "title": "FunctionCall", "type": "object"}'
)

_LAYOUTS: dict[PromptFamily, _Layout] = {
    "default": _Layout(
        before_tools=(
            "You are a helpful AI assistant. \n"
            "You have access to the following tools described in <tool></tool> which you can use to answer the user's "
            "questions.\n"
            "Only use a tool if it directly answers the user's question.\n\n"
            "To use a tool, return JSON in the following format:\n"
            '{"name": "tool_name", "arguments": {"argument1": "value1", "argument2": "value2", ...}}\n\n\n'
        ),
        tools=_tagged,
        before_question="\n\n",
        end="",
        call=_bare_call,
    ),
    "functionary": _Layout(
        before_tools=(
            "<|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n\n"
            "Cutting Knowledge Date: December 2023\n\n\nYou have access to the following functions:\n"
        ),
        tools=_introduced,
        before_question=(
            "\nThink very carefully before calling functions.\n"
            "If a you choose to call a function ONLY reply in the following format:\n"
            "<{start_tag}={function_name}>{parameters}{end_tag}\nwhere\n\n"
            "start_tag => `<function`\n"
            "parameters => a JSON dict with the function argument name as key and function argument value as value.\n"
            "end_tag => `</function>`\n\n"
            "Here is an example,\n"
            '<function=example_function_name>{"example_name": "example_value"}</function>\n\n'
            "Reminder:\n"
            "- If looking for real time information use relevant functions before falling back to brave_search\n"
            "- Function calls MUST follow the specified format, start with <function= and end with </function>\n"
            "- Required parameters MUST be specified\n"
            "- Only call one function at a time\n"
            "- Put the entire function call reply on one line\n\n"
            "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        ),
        end="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        call=_functionary_call,
    ),
    "hermes": _Layout(
        before_tools=(
            "<|im_start|>system\nYou are a function calling AI model. You are provided with function signatures within "
            "<tools></tools> XML tags. You may call one or more functions to assist with the user query. Don't make "
            "assumptions about what values to plug into functions. Here are the available tools: <tools> "
        ),
        tools=_spaced,
        before_question=(
            f" </tools> Use the following pydantic model json schema for each tool call you will make: {_CALL_SCHEMA} "
            "For each function call return a json object with function name and arguments within <tool_call>"
            '</tool_call> XML tags as follows:\n<tool_call>\n{"arguments": <args-dict>, "name": <function-name>}\n'
            "</tool_call><|im_end|><|im_start|>user\n"
        ),
        # NVIDIA's prompt ends here: the assistant's turn is not opened.
        end="<|im_end|>",
        call=_hermes_call,
    ),
    "llama3_2": _Layout(
        before_tools=(
            "<|start_header_id|>system<|end_header_id|>\n\n"
            "You are an expert in composing functions. You are given a question and a set of possible functions. \n"
            "Based on the question, you will need to make one or more function/tool calls to achieve the purpose. \n"
            "If none of the functions can be used, point it out. If the given question lacks the parameters required "
            "by the function,also point it out. You should only return the function call in tools call sections.\n"
            "If you decide to invoke any of the function(s), you MUST put it in the format of "
            "[func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)]\n"
            "You SHOULD NOT include any other text in the response.\n"
            "Here is a list of functions in JSON format that you can invoke.\n"
        ),
        tools=_one_json_list,
        before_question="<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
        end="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        call=_pythonic_call,
    ),
    "qwen2_5": _Layout(
        before_tools=(
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n\n"
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        ),
        tools=_one_per_line,
        before_question=(
            "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
            '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}'
            "\n</tool_call><|im_end|>\n<|im_start|>user\n"
        ),
        end="<|im_end|>\n<|im_start|>assistant\n",
        call=_bare_call,
    ),
    "xlam": _Layout(
        before_tools=(
            "[BEGIN OF TASK INSTRUCTION]\n"
            "You are an expert in composing functions. You are given a question and a set of possible functions. \n"
            "    Based on the question, you will need to make one or more function/tool calls to achieve the purpose. "
            "\n"
            "    If none of the functions can be used, point it out and refuse to answer. \n"
            "    If the given question lacks the parameters required by the function, also point it out.\n"
            "[END OF TASK INSTRUCTION]\n\n[BEGIN OF AVAILABLE TOOLS]\n"
        ),
        tools=_python_list,
        before_question=(
            "\n[END OF AVAILABLE TOOLS]\n\n[BEGIN OF FORMAT INSTRUCTION]\n"
            "The output MUST strictly adhere to the following JSON format, and NO other text MUST be included.\n"
            "    The example format is as follows. Please make sure the parameter type is correct. If no function call "
            "is needed, please make tool_calls an empty list '[]'.\n"
            '    ```\n    {\n        "tool_calls": [\n'
            '        {"name": "func_name1", "arguments": {"argument1": "value1", "argument2": "value2"}},\n'
            "        ... (more tool calls as required)\n        ]\n    }\n    ```\n"
            "[END OF FORMAT INSTRUCTION]\n\n[BEGIN OF QUERY]\n"
        ),
        end="\n[END OF QUERY]\n\n",
        call=_xlam_call,
    ),
}

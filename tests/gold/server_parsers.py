"""vLLM's and SGLang's own parsers of calls, run from their unpacked packages, without a GPU and without their engines.

Only files that parse are run. What they import of the rest of their package, and packages that are not installed, are
stand-ins without behaviour, but for the classes in which a parser says what it read. Not part of the test run: the
tests read what `make_served_calls.py` recorded.
"""

import enum
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import sys
import types
import uuid

from pydantic import BaseModel, ConfigDict


class Anything:
    """What a stand-in has by any name: a class to be named in types, subclassed and called."""

    def __init__(self, *values, **named):
        pass

    def __class_getitem__(cls, item):
        return cls

    def __getattr__(self, name):
        return Anything()

    def __call__(self, *values, **named):
        return Anything()


class StandIn(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (Anything,), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Leaves the modules that are run to Python, and makes a stand-in of every other one of the package."""

    def __init__(self, package, run, given, missing):
        self.package, self.run, self.given, self.missing = package, run, given, missing

    def find_spec(self, name, path=None, target=None):
        if any(name == each or name.startswith(f"{each}.") for each in self.run):
            return None
        if name.partition(".")[0] in {self.package, *self.missing}:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = StandIn(spec.name)
        module.__dict__.update(self.given.get(spec.name, {}))
        return module

    def exec_module(self, module):
        pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)


class FunctionCall(Open):
    name: str
    arguments: str


class ToolCall(Open):
    id: str = ""
    type: str = "function"
    function: FunctionCall


class ExtractedToolCallInformation(Open):
    tools_called: bool
    tool_calls: list[ToolCall]
    content: str | None = None


class DeltaFunctionCall(Open):
    name: str | None = None
    arguments: str | None = None


class DeltaToolCall(Open):
    id: str | None = None
    type: str | None = None
    index: int
    function: DeltaFunctionCall | None = None


class DeltaMessage(Open):
    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[DeltaToolCall] = []


class Function(Open):
    name: str
    description: str | None = None
    parameters: dict | None = None


class Tool(Open):
    type: str = "function"
    function: Function


class SpecialTokens(enum.Enum):
    """Those of mistral_common by which vLLM's parser of Mistral's calls looks."""

    tool_calls = "[TOOL_CALLS]"
    args = "[ARGS]"
    call_id = "[CALL_ID]"
    begin_think = "[THINK]"
    end_think = "[/THINK]"


class Request(Open):
    """Of a client that lets the model call where it wants."""

    tools: list[Tool] = []
    tool_choice: str = "auto"
    messages: list = []


def stand_in(package, folder, run, given, wanted):
    """Make a package of which only the modules in `run` are its own; `wanted` are packages that it may lack."""
    missing = {name for name in wanted if importlib.util.find_spec(name) is None}
    parents = {name.rsplit(".", count)[0] for name in run for count in range(1, name.count(".") + 1)}
    for name in sorted(parents):
        # Their __init__ would load the engine.
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder.joinpath(*name.split(".")))]
    sys.meta_path.insert(0, Finder(package, run, given, missing))
    logging.disable(logging.CRITICAL)
    return missing


class Vllm:
    """`folder` is an unpacked vLLM: its package lies in `vllm`."""

    def __init__(self, folder):
        given = {
            "vllm.entrypoints.generate.base.protocol": {
                "FunctionCall": FunctionCall,
                "ToolCall": ToolCall,
                "ExtractedToolCallInformation": ExtractedToolCallInformation,
                "FunctionDefinition": Function,
                "DeltaFunctionCall": DeltaFunctionCall,
                "DeltaToolCall": DeltaToolCall,
                "DeltaMessage": DeltaMessage,
            },
            "vllm.entrypoints.openai.chat_completion.protocol": {
                "ChatCompletionRequest": Request,
                "ChatCompletionToolsParam": Tool,
            },
            "vllm.logger": {"init_logger": logging.getLogger},
            "vllm.renderers.chat_utils": {
                "make_tool_call_id": lambda *values, **named: f"call-{uuid.uuid4().hex}",
                "get_tool_call_id_type": lambda *values: "random",
            },
            "vllm.utils": {"random_uuid": lambda: uuid.uuid4().hex},
            "vllm.utils.mistral": {"is_mistral_tokenizer": lambda tokenizer: False},
            "vllm.envs": {"VLLM_ENFORCE_STRICT_TOOL_CALLING": False, "VLLM_TOOL_PARSE_REGEX_TIMEOUT_SECONDS": 5},
            "vllm.exceptions": {"VLLMValidationError": ValueError},
            "mistral_common.tokens.tokenizers.base": {"SpecialTokens": SpecialTokens},
        }
        run = ("vllm.tool_parsers", "vllm.parser", "vllm.reasoning")
        wanted = ("xgrammar", "openai_harmony", "mistral_common", "ijson", "prometheus_client", "regex")
        self.missing = stand_in("vllm", folder, run, given, wanted)
        self.names = importlib.import_module("vllm.tool_parsers")._TOOL_PARSERS_TO_REGISTER
        self.reasoning_names = {*importlib.import_module("vllm.reasoning")._REASONING_PARSERS_TO_REGISTER}

    def calls(self, parser, text, tools, tokenizer):
        """Return the calls as `[name, arguments]` and the words beside them, or None for the calls that are no JSON."""
        file, name = self.names[parser]
        made = getattr(importlib.import_module(f"vllm.tool_parsers.{file}"), name)
        offered = [Tool(**tool) for tool in tools]
        read = made(tokenizer, offered).extract_tool_calls(text, Request(tools=offered))
        return [[call.function.name, json.loads(call.function.arguments)] for call in read.tool_calls], read.content


class Sglang:
    """`folder` is an unpacked SGLang: its package lies in `sglang`."""

    def __init__(self, folder):
        protocol = {"Tool": Tool, "Function": Function}
        given = {"sglang.srt.entrypoints.openai.protocol": protocol}
        run = ("sglang.srt.function_call", "sglang.srt.parser", "sglang.srt.environ")
        wanted = ("xgrammar", "openai_harmony", "msgspec", "orjson", "openai")
        self.missing = stand_in("sglang", folder, run, given, wanted)
        parsing = importlib.import_module("sglang.srt.function_call.function_call_parser")
        self.names = parsing.FunctionCallParser.ToolCallParserEnum
        names = importlib.import_module("sglang.srt.parser.reasoning_parser_names")
        self.reasoning_names = {*names.REASONING_PARSER_NAMES}
        self.detection = importlib.import_module("sglang.srt.parser.template_detection")

    def calls(self, parser, text, tools, tokenizer):
        """Return what `Vllm.calls` does."""
        read = self.names[parser]().detect_and_parse(text, [Tool(**tool) for tool in tools])
        return [[call.name, json.loads(call.parameters)] for call in read.calls], read.normal_text

    def detected(self, tokenizer):
        """Return the names of the parsers for calls and for thoughts that SGLang takes for a chat template."""
        template = tokenizer.chat_template
        is_forced, switch = self.detection.detect_reasoning_pattern(template)
        given = (template, tokenizer, switch, is_forced)
        return self.detection.detect_tool_call_parser(*given), self.detection.detect_reasoning_parser(*given)

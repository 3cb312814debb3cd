"""The scripted agent's messages and tools in the words of other services."""

import json
from typing import Any

from scripted_agent import SYSTEM, TOOLS


def openai(before: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a request of chat completions."""
    return {"model": "scripted", "messages": [{"role": "system", "content": SYSTEM}, *before], "tools": TOOLS}


def responses(before: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a request of OpenAI's Responses API."""
    items = list[dict[str, Any]]()
    for message in before:
        if message["role"] == "tool":
            items.append(
                {"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}
            )
            continue
        if message["content"]:
            items.append({"role": message["role"], "content": message["content"]})
        for call in message.get("tool_calls") or []:
            items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    tools = [{"type": "function", **tool["function"], "strict": False} for tool in TOOLS]
    return {"model": "scripted", "instructions": SYSTEM, "input": items, "tools": tools}


def _blocks(before: list[dict[str, Any]], text: Any, use: Any, result: Any) -> list[dict[str, Any]]:
    """Return messages of blocks. Results that follow one another are one message of the user."""
    messages = list[dict[str, Any]]()
    for message in before:
        if message["role"] == "tool":
            block = result(message["tool_call_id"], message["content"])
            if messages[-1]["role"] == "user":
                messages[-1]["content"].append(block)
            else:
                messages.append({"role": "user", "content": [block]})
            continue
        blocks = [text(message["content"])] if message["content"] else []
        for call in message.get("tool_calls") or []:
            blocks.append(use(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])))
        messages.append({"role": message["role"], "content": blocks})
    return messages


def anthropic(before: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a request of Anthropic's messages."""
    messages = _blocks(
        before,
        lambda text: {"type": "text", "text": text},
        lambda number, name, data: {"type": "tool_use", "id": number, "name": name, "input": data},
        lambda number, text: {
            **{"type": "tool_result", "tool_use_id": number, "content": text},
            **({"is_error": True} if text.startswith("ERROR") else {}),
        },
    )
    named = [tool["function"] for tool in TOOLS]
    tools = [{"name": t["name"], "description": t["description"], "input_schema": t["parameters"]} for t in named]
    return {"model": "scripted", "max_tokens": 500, "system": SYSTEM, "messages": messages, "tools": tools}


def bedrock(before: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a request of Amazon Bedrock's Converse."""
    messages = _blocks(
        before,
        lambda text: {"text": text},
        lambda number, name, data: {"toolUse": {"toolUseId": number, "name": name, "input": data}},
        lambda number, text: {
            "toolResult": {
                **{"toolUseId": number, "content": [{"text": text}]},
                "status": "error" if text.startswith("ERROR") else "success",
            }
        },
    )
    named = [tool["function"] for tool in TOOLS]
    specs = [
        {"name": t["name"], "description": t["description"], "inputSchema": {"json": t["parameters"]}} for t in named
    ]
    return {
        **{"modelId": "amazon.nova-lite-v1:0", "system": [{"text": SYSTEM}], "messages": messages},
        "toolConfig": {"tools": [{"toolSpec": spec} for spec in specs]},
    }


def gemini(before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return Gemini's contents."""
    contents, names = list[dict[str, Any]](), dict[str, str]()
    for message in before:
        if message["role"] == "tool":
            number = message["tool_call_id"]
            said = "error" if message["content"].startswith("ERROR") else "output"
            part = {"functionResponse": {"id": number, "name": names[number], "response": {said: message["content"]}}}
            if contents[-1]["role"] == "user":
                contents[-1]["parts"].append(part)
            else:
                contents.append({"role": "user", "parts": [part]})
            continue
        parts: list[dict[str, Any]] = [{"text": message["content"]}] if message["content"] else []
        for call in message.get("tool_calls") or []:
            names[call["id"]] = call["function"]["name"]
            arguments = json.loads(call["function"]["arguments"])
            parts.append({"functionCall": {"id": call["id"], "name": call["function"]["name"], "args": arguments}})
        contents.append({"role": "user" if message["role"] == "user" else "model", "parts": parts})
    return contents

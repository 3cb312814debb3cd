"""Makes the logs of requests and responses that the vendors' own clients give: `python make_logs.py`."""

import json
from typing import Any

import anthropic
import boto3
import openai
import translated
from google import genai
from google.genai import types
from recorded import SERVER, ask_all, write
from scripted_agent import SYSTEM, TOOLS


def openai_chat(before: list[dict[str, Any]], is_streamed: bool) -> dict[str, Any]:
    request = translated.openai(before)
    if is_streamed:
        chunks = openai.OpenAI().chat.completions.create(**request, stream=True)
        return {"request": {**request, "stream": True}, "response": [chunk.to_dict() for chunk in chunks]}
    return {"request": request, "response": openai.OpenAI().chat.completions.create(**request).to_dict()}


def openai_responses(before: list[dict[str, Any]], is_streamed: bool) -> dict[str, Any]:
    request = translated.responses(before)
    if is_streamed:
        events = openai.OpenAI().responses.create(**request, stream=True)
        return {"request": {**request, "stream": True}, "response": [event.to_dict() for event in events]}
    return {"request": request, "response": openai.OpenAI().responses.create(**request).to_dict()}


def anthropic_messages(before: list[dict[str, Any]], is_streamed: bool) -> dict[str, Any]:
    request = translated.anthropic(before)
    if is_streamed:
        events = anthropic.Anthropic().messages.create(**request, stream=True)
        return {"request": {**request, "stream": True}, "response": [event.to_dict() for event in events]}
    return {"request": request, "response": anthropic.Anthropic().messages.create(**request).to_dict()}


def bedrock_converse(before: list[dict[str, Any]], is_streamed: bool) -> dict[str, Any]:
    request, client = translated.bedrock(before), boto3.client("bedrock-runtime")
    if is_streamed:
        return {"request": request, "response": list(client.converse_stream(**request)["stream"])}
    response = client.converse(**request)
    return {"request": request, "response": {key: response[key] for key in response if key != "ResponseMetadata"}}


def google_genai(before: list[dict[str, Any]], is_streamed: bool) -> dict[str, Any]:
    client = genai.Client(api_key="none", http_options={"base_url": SERVER.url})
    functions = [tool["function"] for tool in TOOLS]
    declared = [
        types.FunctionDeclaration(
            name=tool["name"], description=tool["description"], parameters_json_schema=tool["parameters"]
        )
        for tool in functions
    ]
    config = types.GenerateContentConfig(
        system_instruction=SYSTEM,
        tools=[types.Tool(function_declarations=declared)],
        automatic_function_calling={"disable": True},
    )
    contents = [types.Content.model_validate(content) for content in translated.gemini(before)]
    response = client.models.generate_content(model="scripted", contents=contents, config=config)
    dumped = response.model_dump(mode="json", by_alias=True, exclude_none=True)
    request = {
        "contents": [content.model_dump(mode="json", by_alias=True, exclude_none=True) for content in contents],
        "config": config.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    return {"request": request, "response": dumped}


if __name__ == "__main__":
    for maker in (openai_chat, openai_responses, anthropic_messages, bedrock_converse, google_genai):
        rows = ask_all(maker)
        write(maker.__name__, json.loads(json.dumps(rows, default=str)))

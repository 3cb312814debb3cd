"use strict";
const checkpoints = JSON.parse(document.getElementById("checkpoints").textContent);
const [talk, form, line, tools] = ["talk", "form", "line", "tools"].map((id) => document.getElementById(id));
let conversations = new Map(checkpoints.map((name) => [name, []]));
let isAsking = false;

// Characters that would steer the page or the reader's eye are written out.
const visible = (text) => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g,
  (c) => `[U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);

function add(parent, kind, text, style) {
  const element = document.createElement(kind);
  element.textContent = visible(text);
  if (style) element.className = style;
  parent.append(element);
  return element;
}

const callWords = (call) => {
  let values;
  try {
    values = Object.entries(JSON.parse(call.function.arguments)).map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(", ");
  } catch { values = call.function.arguments; }
  return `${call.function.name}(${values})`;
};

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) if (part !== "data: [DONE]") yield JSON.parse(part.slice(6));
  }
}

async function answer(name, added, box) {
  const conversation = conversations.get(name);
  const shown = add(box, "p", "…");
  const body = { model: name, stream: true, messages: [...conversation, ...added] };
  const offered = tools.value.trim();
  try {
    if (offered) body.tools = JSON.parse(offered);
    const reply = await fetch("/v1/chat/completions", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    let raw = "", state = { status: "ok", reason: "" };
    const message = { role: "assistant", content: "" };
    for await (const chunk of events(reply.body)) {
      if (chunk.error) throw new Error(chunk.error.message);
      if (chunk.calltune && chunk.calltune.text) shown.textContent = visible(raw += chunk.calltune.text);
      if (chunk.calltune && chunk.calltune.status) state = chunk.calltune;
      for (const { delta } of chunk.choices) {
        message.content += delta.content || "";
        if (delta.reasoning_content) message.reasoning_content = delta.reasoning_content;
        if (delta.tool_calls) message.tool_calls = delta.tool_calls.map(({ index, ...call }) => call);
      }
    }
    shown.remove();
    if (state.status !== "ok") add(box, "p", `${state.status}: ${state.reason}`, "wrong");
    if (message.content) add(box, "p", message.content);
    for (const call of message.tool_calls || []) add(box, "p", callWords(call), "call");
    if (conversations.get(name) === conversation) conversation.push(...added, message);
  } catch (error) {
    shown.remove();
    add(box, "p", `not answered: ${error.message}`, "wrong");
  }
}

async function ask() {
  const text = line.value.trim();
  if (!text || isAsking) return;
  const isResult = text.startsWith("=");
  const last = (name) => (conversations.get(name).at(-1) || {}).tool_calls || [];
  const names = checkpoints.filter((name) => !isResult || last(name).length);
  const turn = add(talk, "div", "", "turn");
  add(turn, "p", names.length ? text : "No checkpoint has made a call, so there is nothing for a result to answer.");
  const answers = add(turn, "div", "", "answers");
  line.value = "";
  const boxes = names.map((name) => { const box = add(answers, "section", ""); add(box, "h2", name); return box; });
  isAsking = true;
  talk.setAttribute("aria-busy", "true");
  await Promise.all(names.map((name, number) => answer(name,
    isResult ? last(name).map((call) => ({ role: "tool", tool_call_id: call.id, content: text.slice(1).trim() })) : [{ role: "user", content: text }],
    boxes[number])));
  isAsking = false;
  talk.setAttribute("aria-busy", "false");
  line.focus();
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
line.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); ask(); }
});
document.getElementById("anew").addEventListener("click", () => {
  conversations = new Map(checkpoints.map((name) => [name, []]));
  talk.textContent = "";
  line.focus();
});

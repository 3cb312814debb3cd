// Runs the scripted agent through Vercel's SDK, against the server that make_vercel.py began; writes JSON to its output.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const require = createRequire(path.join(process.env.NODE_FOLDER, 'x.js'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { generateText, streamText, jsonSchema, stepCountIs, tool, readUIMessageStream } = await load('ai');
const { createOpenAICompatible } = await load('@ai-sdk/openai-compatible');
const { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } = await load('@opentelemetry/sdk-trace-base');
const { context, trace } = await load('@opentelemetry/api');
const { AsyncLocalStorageContextManager } = await load('@opentelemetry/context-async-hooks');
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
const { JsonTraceSerializer } = await load('@opentelemetry/otlp-transformer');

const { conversations, streamed, system, tools, url } = JSON.parse(readFileSync(0, 'utf8'));
const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const { version } = require('ai/package.json');
if (version.startsWith('7.')) {
  // Since version 7 the spans are made by a package of their own.
  const { registerTelemetry } = await load('ai');
  const { OpenTelemetry } = await load('@ai-sdk/otel');
  trace.setGlobalTracerProvider(provider);
  registerTelemetry(new OpenTelemetry());
}
const telemetry = version.startsWith('7.')
  ? { telemetry: { isEnabled: true } }
  : { experimental_telemetry: { isEnabled: true, tracer: provider.getTracer('ai') } };
const model = createOpenAICompatible({ name: 'scripted', baseURL: `${url}/v1`, includeUsage: true })('scripted');

const offered = (results) =>
  Object.fromEntries(
    tools.map(({ function: { name, description, parameters } }) => [
      name,
      tool({
        description,
        inputSchema: jsonSchema(parameters),
        execute: async (_, { toolCallId }) => {
          // The SDK puts the name of an error's class before its words, but not before a text that is thrown.
          if (results[toolCallId].startsWith('ERROR')) throw results[toolCallId];
          return results[toolCallId];
        },
      }),
    ]),
  );

const published = tools.map(({ function: { name, description, parameters } }) => ({
  name,
  description,
  inputSchema: { jsonSchema: parameters },
}));
const [models, screens] = [[], []];
for (const onScreen of [false, true]) {
  for (const [name, conversation] of Object.entries(conversations)) {
    const results = Object.fromEntries(
      conversation.filter((m) => m.role === 'tool').map((m) => [m.tool_call_id, m.content]),
    );
    const [messages, shown] = [[], []];
    for (const { content } of conversation.filter((m) => m.role === 'user')) {
      messages.push({ role: 'user', content });
      shown.push({ id: `u${shown.length}`, role: 'user', parts: [{ type: 'text', text: content }] });
      const settings = {
        model,
        system,
        messages,
        tools: offered(results),
        stopWhen: stepCountIs(9),
        ...(onScreen ? {} : telemetry),
      };
      if (onScreen || streamed.includes(name)) {
        const result = streamText(settings);
        let last;
        const stream = result.toUIMessageStream({ onError: (error) => error.message ?? error, generateMessageId: () => 'a' });
        for await (const message of readUIMessageStream({ stream })) last = message;
        shown.push(last);
        messages.push(...((await result.responseMessages) ?? (await result.response).messages));
      } else {
        const result = await generateText(settings);
        messages.push(...(result.responseMessages ?? result.response.messages));
      }
    }
    if (onScreen) screens.push({ messages: shown, system, tools: published });
    else models.push({ messages, system, tools: published });
  }
}
const spans = exporter.getFinishedSpans();
const batches = [];
for (let n = 0; n < spans.length; n += 9) {
  batches.push(JSON.parse(Buffer.from(JsonTraceSerializer.serializeRequest(spans.slice(n, n + 9))).toString()));
}
process.stdout.write(JSON.stringify({ version, models, screens, batches }));

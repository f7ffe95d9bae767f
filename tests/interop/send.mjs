// Sends spans as a Node.js service does, by OTLP over HTTP in JSON; prints what became of the export.
// Arguments: the URL, and how many spans.
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";

const [url, count] = process.argv.slice(2);
const exporter = new OTLPTraceExporter({ url });
const results = [];
const watched = {
  export: (spans, done) =>
    exporter.export(spans, (result) => {
      results.push({ spans: spans.length, code: result.code, error: String(result.error ?? "") });
      done(result);
    }),
  forceFlush: () => exporter.forceFlush(),
  shutdown: () => exporter.shutdown(),
};
const resource = resourceFromAttributes({ "service.name": "node-shop", "deployment.environment.name": "test" });
const provider = new TracerProvider({ resource, spanProcessors: [new BatchSpanProcessor({ exporter: watched })] });
const tracer = provider.getTracer("node-sender", "1.0.0");
for (let number = 0; number < Number(count); number++) {
  const span = tracer.startSpan("chat gpt-4o-mini", { kind: 2 });
  span.setAttributes({
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": `chatcmpl-node-${number}`,
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.request.stream": true,
    "gen_ai.prompt": "half an emoji \ud83d", // as a limit on the length of values leaves it
  });
  span.addEvent("gen_ai.choice", { content: "hello" });
  span.end();
}
await provider.forceFlush();
await provider.shutdown();
console.log(JSON.stringify(results));

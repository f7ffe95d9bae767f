// What the programs share. They run in the environment of a row, where nothing else of the project is.

const { context, trace } = require("@opentelemetry/api");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");
const instrumentations = require("./instrumentations.cjs");

const QUESTION = "What is the capital of France?";
// Over the 1,024 tokens below which neither vendor caches a prompt.
const MANUAL = "Answer in one word, and say please. ".repeat(130);

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": process.env.OTEL_SERVICE_NAME }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter(), { scheduledDelayMillis: 50 })],
});

// Activates the instrumentations of these names, in this order; must run before what they instrument is loaded.
async function activate(names) {
  provider.register();
  for (const name of names) await instrumentations[name]();
}

// Lets the provider answer the next calls with these errors.
async function failNext(...statuses) {
  const body = JSON.stringify({ next_errors: statuses });
  await fetch(`${process.env.PROVIDER_URL}/control`, { method: "POST", body });
}

async function drain(stream) {
  for await (const _ of stream);
}

// Runs a call that is to fail.
async function failing(call) {
  try {
    await call();
  } catch {
    return;
  }
  throw new Error("the call did not fail");
}

// Stands for an app's own span around its calls.
async function requestHandled(calls) {
  const span = trace.getTracer("app").startSpan("POST /orders");
  await context.with(trace.setSpan(context.active(), span), calls);
  span.end();
}

function run(main) {
  main()
    .then(() => provider.shutdown())
    .catch((error) => {
      console.error(error);
      process.exitCode = 1;
    });
}

module.exports = { MANUAL, QUESTION, activate, drain, failNext, failing, requestHandled, run };

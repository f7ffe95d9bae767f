// Each instrumentation for Node.js, activated as its own documentation says. Each hooks `require`, once it is made.

const { registerInstrumentations } = require("@opentelemetry/instrumentation");

module.exports = {
  // The spans that the SDK makes by itself.
  anthropic_sdk() {},

  official_openai() {
    const { OpenAIInstrumentation } = require("@opentelemetry/instrumentation-openai");
    registerInstrumentations({ instrumentations: [new OpenAIInstrumentation()] });
  },

  openllmetry_openai() {
    const { OpenAIInstrumentation } = require("@traceloop/instrumentation-openai");
    registerInstrumentations({ instrumentations: [new OpenAIInstrumentation()] });
  },

  openllmetry_anthropic() {
    const { AnthropicInstrumentation } = require("@traceloop/instrumentation-anthropic");
    registerInstrumentations({ instrumentations: [new AnthropicInstrumentation()] });
  },

  openinference_openai() {
    const { OpenAIInstrumentation } = require("@arizeai/openinference-instrumentation-openai");
    registerInstrumentations({ instrumentations: [new OpenAIInstrumentation()] });
  },

  openinference_anthropic() {
    const { AnthropicInstrumentation } = require("@arizeai/openinference-instrumentation-anthropic");
    registerInstrumentations({ instrumentations: [new AnthropicInstrumentation()] });
  },

  // Up to version 6 each call says by itself that it wants spans.
  vercel() {},

  // From version 7 on they are an integration of their own.
  async vercel_otel() {
    const { registerTelemetry } = await import("ai");
    const { OpenTelemetry } = await import("@ai-sdk/otel");
    registerTelemetry(new OpenTelemetry());
  },
};

// Vercel's AI SDK, versions 4 to 7, over OpenAI and Anthropic: generated, streamed, cached, embedded, failed.

const { MANUAL, QUESTION, activate, drain, failNext, failing, requestHandled, run } = require("./setup.cjs");

const asked = { experimental_telemetry: { isEnabled: true }, maxRetries: 0, prompt: QUESTION };

run(async () => {
  await activate(process.argv.slice(2));
  const { embed, generateText, streamText } = await import("ai");
  const { createOpenAI } = await import("@ai-sdk/openai");
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
  const anthropic = createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` });
  const stream = async (options) => drain((await streamText(options)).textStream);
  const embedding = openai.textEmbeddingModel ?? openai.embedding;

  const chat = { ...asked, model: openai.chat("gpt-4o-mini") };
  await generateText(chat);
  await generateText(chat); // the same prompt again, on purpose
  await stream(chat);
  await generateText({ ...chat, system: MANUAL }); // fills the cache
  await generateText({ ...chat, system: MANUAL });
  await generateText({ ...asked, model: openai.chat("gpt-5-mini") });
  await generateText({ ...asked, model: openai.responses("gpt-5-mini") });
  await stream({ ...asked, model: openai.responses("gpt-5-mini") });
  await embed({
    model: embedding("text-embedding-3-small", { dimensions: 4 }), // up to version 4
    providerOptions: { openai: { dimensions: 4 } }, // from version 5 on
    value: QUESTION,
    experimental_telemetry: asked.experimental_telemetry,
  });

  const claude = { ...asked, model: anthropic("claude-haiku-4-5") };
  await generateText(claude);
  await stream(claude);
  const providerOptions = { anthropic: { cacheControl: { type: "ephemeral" } } };
  const content = [
    { type: "text", text: MANUAL, providerOptions },
    { type: "text", text: QUESTION },
  ];
  const { prompt, ...cached } = { ...claude, messages: [{ role: "user", content }] };
  await generateText(cached); // fills the cache
  await generateText(cached);
  await stream(cached);

  await requestHandled(async () => {
    await generateText(chat);
    await stream(claude);
  });
  await failNext(404);
  await failing(() => generateText(chat));
});

// Anthropic's SDK: messages, plain and streamed, thinking, cached for both lifetimes, repeated, failed and retried.

const { MANUAL, QUESTION, activate, drain, failNext, failing, requestHandled, run } = require("./setup.cjs");

const messages = [{ role: "user", content: QUESTION }];
const message = { model: "claude-haiku-4-5", max_tokens: 200, messages };
const thinking = { ...message, max_tokens: 2000, thinking: { type: "enabled", budget_tokens: 1024 } };

function cached(ttl) {
  return { ...message, system: [{ type: "text", text: `${ttl} ${MANUAL}`, cache_control: { type: "ephemeral", ttl } }] };
}

run(async () => {
  await activate(process.argv.slice(2));
  const { Anthropic } = require("@anthropic-ai/sdk");
  const client = new Anthropic();
  const create = (body, options) => client.messages.create(body, options);
  await create(message);
  await create(message); // the same prompt again, on purpose
  await drain(await create({ ...message, stream: true }));
  await client.messages.stream(message).finalMessage();
  for (const ttl of ["5m", "1h"]) {
    await create(cached(ttl)); // fills the cache
    await create(cached(ttl));
  }
  await drain(await create({ ...cached("5m"), stream: true }));
  await create(thinking);
  await Promise.all([create(message), create(message)]);
  await requestHandled(async () => {
    await create(message);
    await drain(await create({ ...message, stream: true }));
  });
  for (const status of [404, 429]) {
    await failNext(status);
    await failing(() => create(message, { maxRetries: 0 }));
  }
  await failNext(429);
  await create(message); // the SDK tries again by itself
});

// OpenAI's SDK: chat, responses and embeddings, plain and streamed, cached, repeated, failed and retried.

const { MANUAL, QUESTION, activate, drain, failNext, failing, requestHandled, run } = require("./setup.cjs");

const messages = [{ role: "user", content: QUESTION }];
const chat = { model: "gpt-4o-mini", messages };
const withUsage = { stream: true, stream_options: { include_usage: true } };
const cached = { model: "gpt-4o-mini", messages: [{ role: "system", content: MANUAL }, ...messages] };

run(async () => {
  await activate(process.argv.slice(2));
  const { OpenAI } = require("openai");
  const client = new OpenAI();
  const create = (body, options) => client.chat.completions.create(body, options);
  await create(chat);
  await create(chat); // the same prompt again, on purpose
  await drain(await create({ ...chat, ...withUsage }));
  await drain(await create({ ...chat, stream: true })); // without usage
  await create(cached); // fills the cache
  await create(cached);
  await drain(await create({ ...cached, ...withUsage }));
  await create({ model: "gpt-5-mini", messages });
  await client.responses.create({ model: "gpt-5-mini", input: QUESTION });
  await drain(await client.responses.create({ model: "gpt-5-mini", input: QUESTION, stream: true }));
  await client.embeddings.create({ model: "text-embedding-3-small", input: QUESTION, dimensions: 4 });
  await Promise.all([create(chat), create(chat)]);
  await requestHandled(async () => {
    await create(chat);
    await drain(await create({ ...chat, ...withUsage }));
  });
  for (const status of [404, 429]) {
    await failNext(status);
    await failing(() => create(chat, { maxRetries: 0 }));
  }
  await failNext(429);
  await create(chat); // the SDK tries again by itself
});

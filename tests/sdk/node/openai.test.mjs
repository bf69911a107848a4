// OpenAI's JavaScript client through the gateway says what it says without one.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import OpenAI from 'openai';

import { control, customer, fakeUrl, lava, meter, records, url, used } from './support.mjs';

const model = 'gpt-4o-mini';
const messages = [{ role: 'user', content: 'one two three' }];
const tools = [
  {
    type: 'function',
    function: { name: 'look_up', parameters: { type: 'object', properties: { q: { type: 'string' } } } },
  },
];

const { meter_slug } = await meter('1000');
const straight = new OpenAI({ apiKey: 'sk-own', baseURL: `${fakeUrl}/openai/v1` });

let customer_id;
let gpt;
beforeEach(async () => {
  customer_id = await customer('1000');
  gpt = new OpenAI({
    apiKey: lava.generateForwardToken({ customer_id, meter_slug }),
    baseURL: lava.providers.openai,
  });
  await control('fault', {});
  await control('reset');
});

/** What two clients are told by the same call: the fake numbers its answers from the start again. */
async function both(ask) {
  const through = await ask(gpt);
  await control('reset');
  return [through, await ask(straight)];
}

const all = async (stream) => {
  const found = [];
  for await (const chunk of stream) found.push(chunk);
  return found;
};

const told = ({ usage, ...chunk }) => ({ ...chunk, ...(usage && { usage }) });

test('a chat completion', async () => {
  const [made, plain] = await both((client) => client.chat.completions.create({ model, messages, n: 2 }));
  assert.deepEqual(made, plain);
  assert.deepEqual(await used(customer_id), [made.usage.prompt_tokens, made.usage.completion_tokens]);
  const [record] = await records(customer_id);
  assert.deepEqual([record.response_id, record.charge.amount], [made.id, '0.0270000000']);
});

test('a chat completion with tools', async () => {
  const [made, plain] = await both((client) => client.chat.completions.create({ model, messages, tools }));
  assert.deepEqual(made, plain);
  assert.deepEqual(await used(customer_id), [made.usage.prompt_tokens, made.usage.completion_tokens]);
});

for (const stream_options of [undefined, { include_usage: true }]) {
  test(`a streamed chat that ${stream_options ? 'asks' : 'does not ask'} for usage`, async () => {
    const [made, plain] = await both(async (client) =>
      all(await client.chat.completions.create({ model, messages, stream: true, stream_options })),
    );
    // Asked on the client's behalf, the provider says in every other chunk that it has none yet.
    assert.deepEqual(made.map(told), plain.map(told));
    assert.equal(Boolean(made.at(-1).usage), Boolean(stream_options));
    assert.deepEqual(await used(customer_id), [3, 12]);
  });
}

test('the streaming helper ends with the whole answer', async () => {
  const [made, plain] = await both((client) =>
    client.chat.completions.stream({ model, messages }).finalChatCompletion(),
  );
  assert.deepEqual(made.choices, plain.choices);
  assert.deepEqual(await used(customer_id), [3, 12]);
});

test('a response, whole and streamed', async () => {
  const [made, plain] = await both((client) => client.responses.create({ model, input: 'one two three' }));
  assert.deepEqual(made, plain);
  assert.deepEqual(await used(customer_id), [made.usage.input_tokens, made.usage.output_tokens]);
  const events = await all(await gpt.responses.create({ model, input: 'one two three', stream: true }));
  assert.equal(events.at(-1).type, 'response.completed');
  const [newest] = await records(customer_id);
  assert.equal(newest.model_usage.output_tokens, made.usage.output_tokens);
});

test('embeddings', async () => {
  const [made, plain] = await both((client) =>
    client.embeddings.create({ model: 'text-embedding-3-small', input: 'one two three' }),
  );
  assert.deepEqual(made, plain);
  assert.deepEqual(await used(customer_id), [3, 0]);
});

test('many at once', async () => {
  const made = await Promise.all(
    Array.from({ length: 8 }, () => gpt.chat.completions.create({ model, messages })),
  );
  const found = await records(customer_id);
  assert.deepEqual(
    found.map((record) => record.response_id).sort(),
    made.map((answer) => answer.id).sort(),
  );
});

test('a stream that breaks off is an error', async () => {
  await control('fail_next', [{ cut_after: 5 }]);
  const stream = await gpt.chat.completions.create({ model, messages, stream: true });
  await assert.rejects(all(stream));
  assert.deepEqual((await records(customer_id))[0].flags, ['estimated']);
});

test('out of credit is told as the client tells statuses', async () => {
  const poor = new OpenAI({
    apiKey: lava.generateForwardToken({ customer_id: await customer('0.0000000001'), meter_slug }),
    baseURL: lava.providers.openai,
  });
  await assert.rejects(poor.chat.completions.create({ model, messages }), (error) => {
    assert.ok(error instanceof OpenAI.APIError);
    assert.deepEqual([error.status, error.code], [402, 'insufficient_credits']);
    return true;
  });
  assert.deepEqual(await control('calls'), []);
});

test("a provider's error is the client's error", async () => {
  await assert.rejects(
    gpt.chat.completions.create({ model: 'no-such-model', messages }),
    (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found',
  );
  assert.deepEqual(await records(customer_id), []);
});

for (const path of ['/v1/forward/openai/v1', '/v1/forward/https://api.openai.com/v1']) {
  test(`${path} is a base URL too`, async () => {
    const { apiKey } = gpt;
    await new OpenAI({ apiKey, baseURL: url + path }).chat.completions.create({ model, messages });
    assert.deepEqual(await used(customer_id), [3, 12]);
  });
}

// Anthropic's JavaScript client through the gateway says what it says without one.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { control, customer, fakeUrl, lava, meter, records, url, used } from './support.mjs';

const asked = {
  model: 'claude-sonnet-4-6',
  max_tokens: 50,
  messages: [{ role: 'user', content: 'one two three' }],
};
const tools = [{ name: 'look_up', input_schema: { type: 'object', properties: { q: { type: 'string' } } } }];

const { meter_slug } = await meter('1000');
const straight = new Anthropic({ apiKey: 'sk-own', baseURL: `${fakeUrl}/anthropic` });
const through = (apiKey, path = '/v1/forward?u=https://api.anthropic.com') =>
  new Anthropic({ apiKey, baseURL: url + path });

let customer_id;
let token;
let claude;
beforeEach(async () => {
  customer_id = await customer('1000');
  token = lava.generateForwardToken({ customer_id, meter_slug });
  claude = through(token);
  await control('fault', {});
  await control('reset');
});

/** What two clients are told by the same call: the fake numbers its answers from the start again. */
async function both(ask) {
  const told = await ask(claude);
  await control('reset');
  return [told, await ask(straight)];
}

const all = async (stream) => {
  const found = [];
  for await (const event of stream) found.push(event);
  return found;
};

test('a message', async () => {
  const [made, plain] = await both((client) => client.messages.create(asked));
  assert.deepEqual(made, plain);
  assert.deepEqual(await used(customer_id), [made.usage.input_tokens, made.usage.output_tokens]);
  const [record] = await records(customer_id);
  assert.deepEqual([record.response_id, record.charge.amount], [made.id, '0.0150000000']);
});

test('a message with tools', async () => {
  const [made, plain] = await both((client) => client.messages.create({ ...asked, tools }));
  assert.deepEqual(made, plain);
  assert.deepEqual(await used(customer_id), [made.usage.input_tokens, made.usage.output_tokens]);
});

test('raw events of a stream', async () => {
  const [made, plain] = await both(async (client) =>
    all(await client.messages.create({ ...asked, stream: true })),
  );
  assert.deepEqual(made, plain);
  assert.deepEqual([made[0].type, made.at(-1).type], ['message_start', 'message_stop']);
  assert.deepEqual(await used(customer_id), [3, 12]);
});

test('the streaming helper ends with the whole message', async () => {
  const [made, plain] = await both((client) => client.messages.stream(asked).finalMessage());
  assert.deepEqual(made, plain);
  assert.deepEqual(await used(customer_id), [3, 12]);
});

test('tokens are counted, and models listed, for nothing', async () => {
  const { max_tokens: _, ...count } = asked;
  assert.equal((await claude.messages.countTokens(count)).input_tokens, 3);
  assert.ok((await claude.models.list()).data.length > 0);
  const charges = (await records(customer_id)).map((record) => record.charge.amount);
  assert.deepEqual(charges, ['0.0000000000', '0.0000000000']);
});

test('a stream that breaks off is an error', async () => {
  await control('fail_next', [{ cut_after: 5 }]);
  await assert.rejects(claude.messages.stream(asked).finalMessage());
  assert.deepEqual((await records(customer_id))[0].flags, ['estimated']);
});

test('out of credit is told as the client tells statuses', async () => {
  const poor = through(
    lava.generateForwardToken({ customer_id: await customer('0.0000000001'), meter_slug }),
  );
  await assert.rejects(poor.messages.create(asked), (error) => {
    assert.ok(error instanceof Anthropic.APIError);
    assert.deepEqual([error.status, error.error.error.code], [402, 'insufficient_credits']);
    return true;
  });
  assert.deepEqual(await control('calls'), []);
});

test("a provider's error is the client's error", async () => {
  await assert.rejects(
    claude.messages.create({ ...asked, model: 'no-such-model' }),
    Anthropic.NotFoundError,
  );
  assert.deepEqual(await records(customer_id), []);
});

for (const path of [
  '/v1/forward?u=https://api.anthropic.com/v1',
  '/v1/forward/anthropic',
  '/v1/forward/https://api.anthropic.com',
]) {
  test(`${path} is a base URL too`, async () => {
    await through(token, path).messages.create(asked);
    assert.deepEqual(await used(customer_id), [3, 12]);
  });
}

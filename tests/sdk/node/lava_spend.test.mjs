// Spend keys made by Lava's Node SDK, used by OpenAI's and Anthropic's clients at the gateway's own paths.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import * as shapes from './shapes.mjs';
import { conforms } from './shapes.mjs';
import { control, lava, unique, url } from './support.mjs';

const model = 'gpt-4o-mini';
const claude = 'claude-sonnet-4-6';
const messages = [{ role: 'user', content: 'one two three' }];

const made = (more = {}) => lava.spendKeys.create({ name: unique('key'), ...more });
const openai = ({ key }) => new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0 });
const anthropic = ({ key }) => new Anthropic({ apiKey: key, baseURL: url, maxRetries: 0 });
const chat = (key, asked = {}) => openai(key).chat.completions.create({ model, messages, ...asked });

/** The key as it is once so many of its calls have ended. */
async function after(count, { spend_key_id }) {
  for (let tries = 0; tries < 200; tries++) {
    const found = conforms(await lava.spendKeys.retrieve(spend_key_id), shapes.spendKey);
    const held = await lava.request('GET', 'reservations', { query: { state: 'active' } });
    if (found.total_requests === count && held.data.length === 0) return found;
    await pause(20);
  }
  return assert.fail('the calls did not end');
}

/** Fails unless the call is refused with this status. */
const refusedWith = (promise, ...statuses) =>
  assert.rejects(promise, (error) => {
    assert.ok(statuses.includes(error.status), `${error.status}: ${error.message}`);
    return true;
  });

describe('chat completions with a spend key', () => {
  test('the model decides the provider, and the key counts the cost', async () => {
    const key = await made();
    const answer = await chat(key);
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens], [3, 12]);
    const [record] = (await lava.requests.list({ limit: 1 })).data;
    conforms(record, shapes.request);
    assert.deepEqual([record.provider, record.response_id], ['openai', answer.id]);
    const used = await after(1, key);
    assert.equal(used.current_spend, record.cost);
    assert.equal(used.total_spend, record.cost);
    assert.equal(used.current_requests, 1);
    assert.ok(Date.parse(used.last_used_at) > Date.parse(used.created_at) - 1);
  });

  test('a stream', async () => {
    const key = await made();
    const words = [];
    for await (const chunk of await chat(key, { stream: true })) {
      words.push(chunk.choices[0]?.delta?.content ?? '');
    }
    assert.ok(words.join('').length > 0);
    assert.notEqual((await after(1, key)).current_spend, '0.0000000000');
  });

  test('models and providers that are not allowed are refused', async () => {
    const key = await made({ allowed_models: [model] });
    await chat(key);
    await refusedWith(chat(key, { model: 'gpt-4o' }), 403);
    await refusedWith(chat(await made({ allowed_providers: ['anthropic'] })), 403);
    const { data } = await openai(key).models.list();
    assert.deepEqual(data.map((one) => one.id), [model]);
  });

  test('limits of calls and of spend stop it before the provider', async () => {
    const few = await made({ request_limit: { count: 1, cycle: 'daily' } });
    await chat(few);
    const poor = await made({ spend_limit: { amount: '0.0000000001', cycle: 'total' } });
    await control('reset');
    await refusedWith(chat(few), 402, 403, 429);
    await refusedWith(chat(poor), 402, 403);
    assert.deepEqual(await control('calls'), []);
  });

  test('a rate is kept', async () => {
    const key = await made({ rate_limit: { rpm: 1, burst: 1 } });
    await chat(key);
    await refusedWith(chat(key), 429);
  });

  test('a paused, a rotated and a revoked key do not work', async () => {
    await refusedWith(chat(await made({ status: 'paused' })), 401, 403);
    const key = await made();
    const turned = await lava.spendKeys.rotate(key.spend_key_id);
    await refusedWith(chat(key), 401);
    await chat(turned);
    await lava.spendKeys.revoke(key.spend_key_id);
    await refusedWith(chat(turned), 401);
  });
});

describe('messages with a spend key', () => {
  test('whole and streamed', async () => {
    const key = await made({ request_shape: 'anthropic' });
    const asked = { model: claude, max_tokens: 50, messages };
    const answer = await anthropic(key).messages.create(asked);
    assert.equal(answer.usage.output_tokens, 12);
    const streamed = await anthropic(key).messages.stream(asked).finalMessage();
    assert.deepEqual(streamed.usage, answer.usage);
    const used = await after(2, key);
    assert.notEqual(used.current_spend, '0.0000000000');
  });
});

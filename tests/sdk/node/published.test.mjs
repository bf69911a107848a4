// Both JavaScript clients, while the fake provider replays the corpus: what they are told through
// the gateway is what they are told without it, and the books say what the corpus states.

import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { control, customer, fakeUrl, lava, meter, records, url } from './support.mjs';

// The corpus asks for models that a client may call deprecated, at every call.
console.warn = () => {};

const RESULT = 'It rains in Paris.';
// Long enough for a call to reach the provider.
const WAIT_MS = 400;
const COUNTS = ['input_tokens', 'output_tokens', 'cache_read_tokens', 'reasoning_tokens'];
const LATER = { error: { type: 'rate_limit_error', message: 'later' } };

const sdks = [
  {
    name: 'openai',
    Client: OpenAI,
    endpoint: 'https://api.openai.com/v1/chat/completions',
    through: `${url}/v1/forward?u=https://api.openai.com/v1`,
    straight: `${fakeUrl}/openai/v1`,
    create: (client, body, options) => client.chat.completions.create(body, options),
    said: ({ choices: [{ message }] }) => [
      message,
      { role: 'tool', tool_call_id: message.tool_calls[0].id, content: RESULT },
    ],
    whole: 'openai/chat:json',
    streamed: 'openai/chat:stream-unasked',
    tool: 'openai/chat:tool-call',
  },
  {
    name: 'anthropic',
    Client: Anthropic,
    endpoint: 'https://api.anthropic.com/v1/messages',
    through: `${url}/v1/forward?u=https://api.anthropic.com`,
    straight: `${fakeUrl}/anthropic`,
    create: (client, body, options) => client.messages.create(body, options),
    said: ({ content }) => [
      { role: 'assistant', content },
      {
        role: 'user',
        content: [
          {
            type: 'tool_result',
            tool_use_id: content.find((block) => block.type === 'tool_use').id,
            content: RESULT,
          },
        ],
      },
    ],
    whole: 'anthropic/messages:json',
    streamed: 'anthropic/messages:stream',
    tool: 'anthropic/messages:tool-use',
  },
];

const { meter_slug } = await meter('1000');
const corpus = await control('corpus');
const byId = Object.fromEntries(corpus.map((pair) => [pair.id, pair]));

const replay = (answers, straight = false) => control('replay', { answers, straight });
const refused = (status, headers) => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  chunks: [JSON.stringify(LATER)],
});

/** Fails unless a record says what a pair's answer states. */
function recorded(record, pair) {
  assert.equal(record.flags.includes('estimated'), pair.estimated, pair.id);
  if (pair.estimated) return;
  const counted = COUNTS.map((name) => record.model_usage[name]);
  assert.deepEqual(counted, COUNTS.map((name) => pair.usage[name] ?? 0), pair.id);
}

for (const sdk of sdks) {
  describe(sdk.name, () => {
    const [whole, streamed, tool] = [byId[sdk.whole], byId[sdk.streamed], byId[sdk.tool]];
    const straight = new sdk.Client({ apiKey: 'sk-own', baseURL: sdk.straight, maxRetries: 0 });

    let customer_id;
    let client;
    beforeEach(async () => {
      customer_id = await customer('1000');
      client = new sdk.Client({
        apiKey: lava.generateForwardToken({ customer_id, meter_slug }),
        baseURL: sdk.through,
        maxRetries: 0,
      });
      await control('reset');
    });

    const charged = async (...pairs) => {
      const found = await records(customer_id);
      assert.equal(found.length, pairs.length);
      found.reverse().forEach((record, index) => recorded(record, pairs[index]));
    };

    /** All that a client makes of an answer, and at the end the error that it throws, if any. */
    const heard = async (by, pair) => {
      const found = [];
      try {
        const made = await sdk.create(by, pair.body);
        if (pair.body.stream) for await (const item of made) found.push(item);
        else found.push(made);
      } catch (error) {
        found.push([error.constructor.name, error.status, error.error ?? error.message]);
      }
      return found;
    };

    test('everything published is told as it is told without us', async () => {
      let count = 0;
      for (const pair of corpus.filter((found) => found.url === sdk.endpoint)) {
        await control('fault', {});
        await replay([pair.id], true);
        const expected = await heard(straight, pair);
        // As badly cut as a wire can, or packed as the client allows.
        await control('fault', { bytewise: pair.streamed, gzip: !pair.streamed });
        await replay([pair.id]);
        assert.deepEqual(await heard(client, pair), expected, pair.id);
        const found = await records(customer_id);
        assert.equal(found.length, count + (pair.free ? 0 : 1), pair.id);
        if (!pair.free) recorded(found[0], pair);
        count = found.length;
      }
      assert.ok(count > 10);
    });

    test('a tool is called, and its result is sent back', async () => {
      const rounds = [];
      for (const by of [straight, client]) {
        await replay([sdk.tool, sdk.whole], by === straight);
        const call = await sdk.create(by, tool.body);
        const messages = [...tool.body.messages, ...sdk.said(call)];
        rounds.push([call, await sdk.create(by, { ...tool.body, messages })]);
      }
      assert.deepEqual(rounds[1], rounds[0]);
      // The provider is asked the same with us as without.
      const sent = (await control('calls')).map(({ body }) => JSON.parse(body));
      assert.deepEqual(sent.slice(2), sent.slice(0, 2));
      assert.ok(JSON.stringify(sent[3]).includes(RESULT));
      await charged(tool, whole);
    });

    test('a call that is tried again is charged once', async () => {
      const soon = { 'retry-after-ms': '5' };
      await replay([refused(429, soon), refused(500, soon), sdk.whole]);
      await sdk.create(client, whole.body, { maxRetries: 2 });
      const calls = await control('calls');
      assert.deepEqual(
        calls.map(({ headers }) => headers['x-stainless-retry-count']),
        ['0', '1', '2'],
      );
      await charged(whole);
    });

    test('a client is told when to try again', async () => {
      await replay([refused(429, { 'retry-after': '7' }), sdk.whole]);
      await assert.rejects(sdk.create(client, whole.body), (error) => {
        assert.ok(error instanceof sdk.Client.RateLimitError);
        assert.equal(error.headers.get('retry-after'), '7');
        return true;
      });
      await charged();
    });

    for (const [how, options, Thrown] of [
      ['times out', () => ({ timeout: WAIT_MS }), sdk.Client.APIConnectionTimeoutError],
      ['is aborted', () => ({ signal: AbortSignal.timeout(WAIT_MS) }), sdk.Client.APIUserAbortError],
    ]) {
      test(`a call that ${how} is charged for what the provider did, and for nothing else`, async () => {
        await replay([sdk.whole]);
        // Of two calls that wait for ever, one is answered later, and one never.
        await control('fail_next', [{ pause_head: true }, { pause_head: true, reset: true }]);
        const calls = [0, 1].map(() => sdk.create(client, whole.body, options()));
        await Promise.all(calls.map((call) => assert.rejects(call, Thrown)));
        await control('resume');
        await charged(whole);
        const outcomes = (await control('calls')).map(({ outcome }) => outcome);
        assert.deepEqual(outcomes.sort(), ['answered', 'cut']);
      });
    }

    test('a stream that is aborted half way is read to its usage', async () => {
      await replay([sdk.streamed]);
      await control('fail_next', [{ pause_after: 4 }]);
      const stop = new AbortController();
      const stream = await sdk.create(client, streamed.body, { signal: stop.signal });
      for await (const _ of stream) stop.abort();
      assert.equal((await control('calls'))[0].outcome, 'open');
      await control('resume');
      await charged(streamed);
      assert.equal((await control('calls'))[0].outcome, 'answered');
    });
  });
}

// Lava's Node SDK: calls through the gateway, provider URLs, forward tokens, and what is not there yet.

import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { Lava } from '@lavapayments/nodejs';

import * as shapes from './shapes.mjs';
import { conforms } from './shapes.mjs';
import { baseUrl, control, customer, lava, meter, records, refused, secretKey, thrown, url } from './support.mjs';

const CHAT = 'https://api.openai.com/v1/chat/completions';
const body = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'one two three' }] };

const payer = async (credit = '1000') => ({
  customer_id: await customer(credit),
  meter_slug: (await meter('1000')).meter_slug,
});
const seen = async () => (await control('calls')).at(-1);
const newest = async () => conforms((await lava.requests.list({ limit: 1 })).data[0], shapes.request);

describe('gateway()', () => {
  test("a customer is charged by the meter, with the platform's key", async () => {
    const who = await payer();
    const answer = await lava.gateway(CHAT, { body, ...who });
    assert.deepEqual([answer.usage.prompt_tokens, answer.usage.completion_tokens], [3, 12]);
    const [record] = await records(who.customer_id);
    conforms(record, shapes.request);
    assert.deepEqual(
      [record.provider, record.provider_key_type, record.endpoint, record.response_id, record.model],
      ['openai', 'managed', `POST ${CHAT}`, answer.id, answer.model],
    );
    assert.equal(record.model_usage.total_tokens, 15);
    assert.equal(record.charge.amount, '0.0150000000');
    assert.equal(record.charge.breakdown[0].tokens, 15);
    assert.notEqual(record.cost, '0.0000000000');
    assert.equal(record.cost, record.model_usage.total_cost);
    const call = await seen();
    assert.equal(call.headers.authorization, 'Bearer sk-platform');
    assert.deepEqual(JSON.parse(call.body), body);
  });

  test('with a meter alone no customer pays', async () => {
    const { meter_id, meter_slug } = await meter('1000');
    await lava.gateway(CHAT, { body, meter_slug });
    const record = await newest();
    assert.equal(record.meter_id, meter_id);
    assert.ok(!('customer_id' in record));
  });

  test('with neither the merchant pays the cost', async () => {
    await lava.gateway(CHAT, { body });
    const record = await newest();
    assert.ok(!('customer_id' in record) && !('meter_id' in record));
    assert.deepEqual(record.charge, { amount: '0.0000000000', rate_type: 'fixed', breakdown: [] });
  });

  test("the caller's own key goes to the provider", async () => {
    const who = await payer();
    await lava.gateway(CHAT, { body, ...who, provider_key: 'sk-own' });
    assert.equal((await seen()).headers.authorization, 'Bearer sk-own');
    const [record] = await records(who.customer_id);
    assert.equal(record.provider_key_type, 'unmanaged');
    assert.equal(record.charge.amount, '0.0150000000');
  });

  test('with billing disabled the customer is named and not charged', async () => {
    const who = await payer('0.01');
    await lava.gateway(CHAT, { body, ...who, disable_billing: true });
    const [record] = await records(who.customer_id);
    assert.equal(record.charge.amount, '0.0000000000');
    conforms(record, shapes.request);
  });

  test("method and headers are the caller's, but no credential", async () => {
    const models = await lava.gateway('https://api.openai.com/v1/models?limit=5', {
      method: 'GET',
      headers: { authorization: 'Bearer stolen', 'OpenAI-Organization': 'org-1' },
    });
    assert.equal(models.object, 'list');
    const call = await seen();
    assert.deepEqual([call.method, call.path], ['GET', '/openai/v1/models?limit=5']);
    assert.equal(call.headers['openai-organization'], 'org-1');
    assert.equal(call.headers.authorization, 'Bearer sk-platform');
  });

  test('other shapes: Anthropic and Gemini', async () => {
    const who = await payer();
    const message = await lava.gateway('https://api.anthropic.com/v1/messages', {
      ...who,
      headers: { 'anthropic-version': '2023-06-01' },
      body: { ...body, model: 'claude-sonnet-4-5', max_tokens: 50 },
    });
    const content = await lava.gateway(
      'https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent',
      { ...who, body: { contents: [{ parts: [{ text: 'one two three' }] }] } },
    );
    const [gemini, claude] = await records(who.customer_id);
    assert.equal(claude.model_usage.output_tokens, message.usage.output_tokens);
    assert.equal(gemini.model_usage.total_tokens, content.usageMetadata.totalTokenCount);
    assert.deepEqual([claude.provider, gemini.provider], ['anthropic', 'google']);
  });

  test('a customer without a meter is refused by the SDK itself', async () => {
    const { length } = await control('calls');
    await assert.rejects(lava.gateway(CHAT, { body, customer_id: 'con_test_1' }), /requires meter_slug/);
    assert.equal((await control('calls')).length, length);
  });

  test('credit that is out stops the call before the provider', async () => {
    const who = await payer('0.0000000001');
    const { length } = await control('calls');
    const { text } = await thrown(lava.gateway(CHAT, { body, ...who }));
    assert.equal(text, 'Payment Required');
    await refused(lava.gateway(CHAT, { body, ...who }), 402, 'insufficient_credits');
    assert.equal((await control('calls')).length, length);
  });

  test("a provider's refusal passes through, and costs nothing", async () => {
    const who = await payer();
    const { status, detail } = await thrown(
      lava.gateway(CHAT, { ...who, body: { ...body, model: 'no-such-model' } }),
    );
    assert.equal(status, 404);
    assert.equal(detail.code, 'model_not_found');
    assert.deepEqual(await records(who.customer_id), []);
  });

  test('a host that nobody listed is refused', async () => {
    await refused(
      lava.gateway('https://api.openai.com.evil.example/v1/chat/completions', { body }),
      403,
      'upstream_not_allowed',
    );
    await refused(lava.gateway('not a url', { body }), 400, 'invalid_field');
  });
});

describe("providers in OpenAI's shape", () => {
  const OWN_SHAPES = ['google', 'anthropic', 'elevenlabs'];
  const IDS = { googleOpenaiCompatible: 'google' };

  for (const [name, target] of Object.entries(lava.providers)) {
    if (OWN_SHAPES.includes(name)) continue;
    test(`${name} is reached at its URL`, async () => {
      const who = await payer();
      const token = lava.generateForwardToken({ ...who, provider_key: 'own' });
      const answer = await fetch(`${target}/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ ...body, model: 'some-model' }),
      });
      const { usage } = await answer.json();
      assert.equal(answer.status, 200);
      const [record] = await records(who.customer_id);
      const base = target.slice(target.indexOf('u=') + 2);
      assert.equal(record.endpoint, `POST ${base}/chat/completions`);
      assert.equal(record.model_usage.total_tokens, usage.total_tokens);
      assert.equal(record.request_id, answer.headers.get('x-lava-request-id'));
      assert.match(record.provider, new RegExp(`^${IDS[name] ?? name}`));
    });
  }
});

describe('providers in shapes of their own', () => {
  test('Anthropic takes the token as its key', async () => {
    const who = await payer();
    const answer = await fetch(`${lava.providers.anthropic}/messages`, {
      method: 'POST',
      headers: {
        'x-api-key': lava.generateForwardToken(who),
        'anthropic-version': '2023-06-01',
        'content-type': 'application/json',
      },
      body: JSON.stringify({ ...body, model: 'claude-sonnet-4-5', max_tokens: 50 }),
    });
    assert.equal((await answer.json()).type, 'message');
    const call = await seen();
    assert.equal(call.headers['x-api-key'], 'sk-ant-platform');
    assert.ok(!('authorization' in call.headers));
    assert.equal((await records(who.customer_id))[0].model_usage.output_tokens, 12);
  });

  for (const place of ['header', 'query']) {
    test(`Google takes the token in the ${place}`, async () => {
      const who = await payer();
      const token = lava.generateForwardToken(who);
      const target = `${lava.providers.google}/models/gemini-2.5-flash:streamGenerateContent?alt=sse`;
      const answer = await fetch(
        place === 'query' ? `${target}&key=${encodeURIComponent(token)}` : target,
        {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            ...(place === 'header' ? { 'x-goog-api-key': token } : {}),
          },
          body: JSON.stringify({ contents: [{ parts: [{ text: 'one two three' }] }] }),
        },
      );
      assert.match(await answer.text(), /^data: /);
      const call = await seen();
      assert.equal(call.headers['x-goog-api-key'], 'g-platform');
      assert.equal(call.path, '/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse');
      assert.equal((await records(who.customer_id))[0].provider, 'google');
    });
  }

  test('ElevenLabs is charged by the character', async () => {
    await control('script', {
      method: 'POST',
      path: '/v1/text-to-speech/voice',
      headers: { 'content-type': 'audio/mpeg' },
      chunks: ['not really', ' audio'],
    });
    const who = {
      customer_id: await customer('100'),
      meter_slug: (await meter('30', { tier_type: 'characters_1m' })).meter_slug,
    };
    const answer = await fetch(`${lava.providers.elevenlabs}/text-to-speech/voice`, {
      method: 'POST',
      headers: {
        'xi-api-key': lava.generateForwardToken({ ...who, provider_key: 'xi-own' }),
        'content-type': 'application/json',
      },
      body: JSON.stringify({ text: 'Thirty characters, as counted.', model_id: 'eleven_multilingual_v2' }),
    });
    assert.equal(await answer.text(), 'not really audio');
    assert.equal((await seen()).headers['xi-api-key'], 'xi-own');
    const [record] = await records(who.customer_id);
    assert.equal(record.model_usage.total_characters, 30);
    assert.equal(record.charge.amount, '0.0009000000');
  });

  test('a stream is relayed as the provider sent it', async () => {
    const who = await payer();
    const answer = await fetch(`${lava.providers.openai}/chat/completions`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${lava.generateForwardToken(who)}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ ...body, stream: true }),
    });
    const lines = (await answer.text()).split('\n').filter(Boolean);
    assert.equal(lines.at(-1), 'data: [DONE]');
    assert.ok(lines.every((line) => !line.includes('"usage":{')));
    assert.equal((await records(who.customer_id))[0].model_usage.total_tokens, 15);
  });
});

describe('forward tokens', () => {
  test('say what they were made of', () => {
    const token = lava.generateForwardToken({
      customer_id: null,
      meter_slug: null,
      provider_key: 'own',
    });
    assert.deepEqual(JSON.parse(Buffer.from(token, 'base64').toString()), {
      secret_key: secretKey,
      customer_id: null,
      meter_slug: null,
      provider_key: 'own',
    });
  });

  test('with nulls track a call that nobody here pays', async () => {
    const token = lava.generateForwardToken({ customer_id: null, meter_slug: null, provider_key: 'own' });
    const answer = await fetch(`${lava.providers.openai}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    await answer.json();
    const record = conforms(
      await lava.requests.retrieve(answer.headers.get('x-lava-request-id')),
      shapes.request,
    );
    assert.equal(record.provider_key_type, 'unmanaged');
    assert.equal(record.charge.amount, '0.0000000000');
  });
});

describe('what is not there yet says so', () => {
  test('checkout sessions', async () => {
    await refused(
      lava.checkoutSessions.create({
        checkout_mode: 'subscription',
        origin_url: 'https://example.com',
        plan_id: 'sc_1',
      }),
      501,
      'not_implemented',
    );
  });

  test('rewriting to another format', async () => {
    await refused(
      lava.gateway('https://api.anthropic.com/v1/messages', { format: 'openai', body }),
      501,
      'not_implemented',
    );
  });

  test('exchanging a code', async () => {
    await assert.rejects(
      Lava.exchangeAuthCode({ code: 'abc', baseUrl }),
      /^Error: Lava API Error: 501 Not Implemented - .*not.*yet/,
    );
  });

  const noBrowser = process.platform === 'linux' ? {} : { skip: 'needs xdg-open' };
  test('logging in, once the browser came back', noBrowser, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'browser-'));
    const { PATH } = process.env;
    try {
      const browser = join(folder, 'xdg-open');
      await writeFile(
        browser,
        `#!${process.execPath}
const { searchParams } = new URL(process.argv[2]);
fetch(\`http://127.0.0.1:\${searchParams.get('port')}/callback?code=abc&state=\${searchParams.get('state')}\`);
`,
      );
      await chmod(browser, 0o755);
      process.env.PATH = `${folder}:${PATH}`;
      await assert.rejects(Lava.login({ baseUrl: url }), /Lava API Error: 501 Not Implemented - /);
    } finally {
      process.env.PATH = PATH;
      await rm(folder, { recursive: true });
    }
  });
});

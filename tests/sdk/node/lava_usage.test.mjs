// Lava's Node SDK: reported requests and usage over days.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import * as shapes from './shapes.mjs';
import { conforms, page } from './shapes.mjs';
import { customer, lava, meter, refused, unique } from './support.mjs';

const report = async (customer_id, { meter_slug }, more = {}) =>
  conforms(
    await lava.requests.create({ request_id: unique('req'), customer_id, meter_slug, ...more }),
    shapes.request,
  );

describe('reported requests', () => {
  test('tokens are charged by the meter', async () => {
    const payer = await customer('10');
    const rated = await meter('2');
    const request_id = unique('req');
    const made = await report(payer, rated, {
      request_id,
      input_tokens: 500,
      output_tokens: 200,
      metadata: { user_id: '123456' },
    });
    assert.deepEqual(
      [made.request_id, made.status, made.customer_id, made.meter_id, made.metadata],
      [request_id, 'completed', payer, rated.meter_id, { user_id: '123456' }],
    );
    const { input_tokens, output_tokens, total_tokens } = made.model_usage;
    assert.deepEqual([input_tokens, output_tokens, total_tokens], [500, 200, 700]);
    assert.equal(made.charge.amount, '0.0014000000');
    assert.equal(made.charge.rate_type, 'fixed');
    assert.deepEqual(made.charge.breakdown, [
      {
        tier: { start: 0, rate: '2.0000000000', type: 'tokens_1m' },
        tokens: 700,
        characters: 0,
        seconds: 0,
        cost: '0.0014000000',
      },
    ]);
    assert.deepEqual(
      [made.provider, made.endpoint, made.provider_key_type, made.cost],
      ['custom', 'POST /v1/requests', 'unmanaged', '0.0000000000'],
    );
    assert.ok(!('model' in made) && !('response_id' in made));
    assert.deepEqual(await lava.requests.retrieve(request_id), made);
  });

  test('one that crosses a tier has a line for each', async () => {
    const payer = await customer('100');
    const rated = await meter('5', {
      tiers: [
        { start: '0', rate: '5' },
        { start: '1000000', rate: '3' },
        { start: '10000000', rate: '1' },
      ],
    });
    const made = await report(payer, rated, { input_tokens: 5_000_000 });
    assert.equal(made.charge.amount, '17.0000000000');
    assert.deepEqual(
      made.charge.breakdown.map((line) => [line.tier.start, line.tokens, line.cost]),
      [
        [0, 1_000_000, '5.0000000000'],
        [1_000_000, 4_000_000, '12.0000000000'],
      ],
    );
    const next = await report(payer, rated, { input_tokens: 1_000_000 });
    assert.deepEqual(next.charge.breakdown.map((line) => line.tier.start), [1_000_000]);
  });

  test('characters, seconds and calls are charged each in its unit', async () => {
    const payer = await customer('10');
    const spoken = await meter('30', { tier_type: 'characters_1m' });
    const characters = await report(payer, spoken, { input_characters: 1000, output_characters: 500 });
    assert.equal(characters.charge.amount, '0.0450000000');
    assert.equal(characters.charge.breakdown[0].characters, 1500);
    const timed = await meter('0.6', { tier_type: 'minutes' });
    const seconds = await report(payer, timed, { input_seconds: 1.5, output_seconds: 0.75 });
    assert.equal(seconds.charge.amount, '0.0225000000');
    assert.equal(seconds.charge.breakdown[0].seconds, 2.25);
    assert.equal(seconds.model_usage.total_seconds, 2.25);
    const called = await meter('0.05', { tier_type: 'requests' });
    assert.equal((await report(payer, called)).charge.amount, '0.0500000000');
  });

  test('a percentage of a cost that nobody knows is nothing', async () => {
    const rated = await meter('1.2', { rate_type: 'percentage' });
    const made = await report(await customer('1'), rated, { input_tokens: 100 });
    assert.deepEqual([made.charge.amount, made.charge.rate_type], ['0.0000000000', 'percentage']);
  });

  test('usage past the credit is charged all the same', async () => {
    const made = await report(await customer('0.01'), await meter('1000000'), { input_tokens: 7 });
    assert.equal(made.charge.amount, '7.0000000000');
  });

  test('the same id charges once, and with another content is refused', async () => {
    const facts = { customer_id: await customer('10'), meter_slug: (await meter('2')).meter_slug };
    const asked = { request_id: unique('req'), input_tokens: 5, ...facts };
    const made = await lava.requests.create(asked);
    assert.deepEqual(await lava.requests.create(asked), made);
    await refused(lava.requests.create({ ...asked, input_tokens: 6 }), 409, 'request_id_reused');
    assert.equal((await lava.requests.list({ customer_id: facts.customer_id })).data.length, 1);
  });

  test('a reference id names the customer too', async () => {
    const reference_id = unique('user');
    const { customer_id } = await lava.customers.create({ reference_id });
    assert.equal((await report(reference_id, await meter('1'), { input_tokens: 1 })).customer_id, customer_id);
  });

  test('lists are filtered by customer, meter and labels', async () => {
    const [one, other] = [await customer('10'), await customer('10')];
    const [first, second] = [await meter('1'), await meter('1')];
    const run = unique('run');
    const a = await report(one, first, { metadata: { run, step: '1' } });
    const b = await report(one, second, { metadata: { run, step: '2' } });
    const c = await report(other, first, { metadata: { run, step: '2' } });
    const ids = async (filter) =>
      conforms(await lava.requests.list(filter), page(shapes.request)).data.map((found) => found.request_id);
    assert.deepEqual(await ids({ customer_id: one }), [b.request_id, a.request_id]);
    assert.deepEqual(await ids({ meter_id: first.meter_id }), [c.request_id, a.request_id]);
    assert.deepEqual(await ids({ metadata_filters: { run, step: '2' } }), [c.request_id, b.request_id]);
    assert.deepEqual(await ids({ customer_id: other, metadata_filters: { run, step: '1' } }), []);
    const newest = await lava.requests.list({ customer_id: one, limit: 1 });
    assert.equal(newest.has_more, true);
    assert.deepEqual(await ids({ customer_id: one, limit: 1, cursor: newest.next_cursor }), [a.request_id]);
  });

  test('unknown customers, meters and requests are not found', async () => {
    const meter_slug = (await meter('1')).meter_slug;
    const request_id = unique('req');
    await refused(
      lava.requests.create({ request_id, customer_id: 'con_test_none', meter_slug }),
      404,
      'not_found',
    );
    await refused(
      lava.requests.create({ request_id, customer_id: await customer(), meter_slug: 'none' }),
      404,
      'not_found',
    );
    await refused(lava.requests.retrieve('req_test_none'), 404, 'not_found');
  });
});

describe('usage', () => {
  const dayAgo = () => new Date(Date.now() - 86_400_000).toISOString();

  test('adds up days and totals, for a customer, a meter, a label', async () => {
    const payer = await customer('10');
    const [first, second] = [await meter('2'), await meter('3')];
    const run = unique('run');
    await report(payer, first, { input_tokens: 1000, output_tokens: 500, metadata: { run } });
    await report(payer, second, { input_tokens: 1000 });
    const told = async (filter) =>
      conforms(await lava.usage.retrieve({ start: dayAgo(), ...filter }), shapes.usage);
    const all = await told({ customer_id: payer });
    assert.deepEqual(all.totals, {
      total_requests: 2,
      total_usage_tokens: 2500,
      total_cost: '0.0000000000',
      total_charge: '0.0060000000',
    });
    const busy = all.items.filter((item) => item.total_requests > 0);
    assert.equal(busy.reduce((sum, item) => sum + item.total_usage_tokens, 0), 2500);
    assert.equal((await told({ meter_id: second.meter_id })).totals.total_charge, '0.0030000000');
    assert.equal((await told({ metadata_filters: { run } })).totals.total_usage_tokens, 1500);
    const hourAgo = new Date(Date.now() - 3_600_000).toISOString();
    const { totals } = await told({ customer_id: payer, end: hourAgo });
    assert.equal(totals.total_requests, 0);
  });

  test("a day is one of the caller's offset", async () => {
    const payer = await customer('1');
    await report(payer, await meter('1'), { input_tokens: 1 });
    const offset = new Date(Date.now() + 14 * 3_600_000);
    const start = `${new Date(offset - 86_400_000).toISOString().slice(0, 10)}T00:00:00+14:00`;
    const { items } = conforms(await lava.usage.retrieve({ start, customer_id: payer }), shapes.usage);
    const [busy] = items.filter((item) => item.total_requests === 1);
    assert.equal(busy.date, offset.toISOString().slice(0, 10));
    assert.equal(Date.parse(busy.start), Date.parse(`${busy.date}T00:00:00+14:00`));
  });

  test('needs a start that is a time', async () => {
    await refused(lava.usage.retrieve({ start: 'yesterday' }), 400, 'invalid_field');
    await refused(lava.request('GET', 'usage'), 400, 'invalid_field');
  });
});

// Lava's Node SDK: customers, meters, keys, webhooks, models, services, wallet.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';

import { Lava } from '@lavapayments/nodejs';

import * as shapes from './shapes.mjs';
import { conforms, page } from './shapes.mjs';
import { baseUrl, customer, lava, meter, refused, thrown, unique } from './support.mjs';

const withKey = (key) => new Lava(key, { baseUrl });

describe('customers', () => {
  test('one that is described is answered as described', async () => {
    const reference = unique('user');
    const made = conforms(
      await lava.customers.create({
        reference_id: reference,
        name: 'Ada King Lovelace',
        email: 'ada@example.com',
        phone: '+442079460000',
        metadata: { tier: 'gold', seats: 3, nested: { flags: [true, null] } },
      }),
      shapes.customer,
    );
    assert.equal(made.reference_id, reference);
    assert.deepEqual(made.contact, {
      phone: '+442079460000',
      email: 'ada@example.com',
      first_name: 'Ada',
      last_name: 'King Lovelace',
    });
    assert.deepEqual(made.metadata, { tier: 'gold', seats: 3, nested: { flags: [true, null] } });
    assert.deepEqual(await lava.customers.retrieve(made.customer_id), made);
    assert.deepEqual(await lava.customers.retrieve(reference), made);
  });

  test('one of whom nothing is known has nulls and empty texts', async () => {
    const made = conforms(await lava.customers.create({}), shapes.customer);
    assert.equal(made.reference_id, null);
    assert.equal(made.metadata, null);
    assert.deepEqual(made.contact, { phone: '', email: '', first_name: '', last_name: '' });
  });

  test('the same reference gives the same customer', async () => {
    const reference_id = unique('user');
    const first = await lava.customers.create({ reference_id });
    assert.equal((await lava.customers.create({ reference_id })).customer_id, first.customer_id);
  });

  test('a change sets what it names, and null clears', async () => {
    const { customer_id } = await lava.customers.create({
      name: 'Ada Lovelace',
      email: 'ada@example.com',
      metadata: { a: 'b' },
    });
    const named = conforms(await lava.customers.update(customer_id, { name: 'Grace' }), shapes.customer);
    assert.deepEqual(
      [named.contact.first_name, named.contact.last_name, named.contact.email, named.metadata],
      ['Grace', '', 'ada@example.com', { a: 'b' }],
    );
    const cleared = await lava.customers.update(customer_id, { email: null, metadata: null });
    assert.deepEqual(
      [cleared.contact.email, cleared.metadata, cleared.contact.first_name],
      ['', null, 'Grace'],
    );
    const reference_id = unique('user');
    await lava.customers.update(customer_id, { reference_id });
    assert.equal((await lava.customers.update(reference_id, { phone: '+15551234567' })).customer_id, customer_id);
  });

  test('pages follow one another to the end, newest first', async () => {
    const made = [];
    for (let each = 0; each < 3; each++) made.push(await customer());
    const first = conforms(await lava.customers.list({ limit: 2 }), page(shapes.customer));
    assert.deepEqual(first.data.map((one) => one.customer_id), [made[2], made[1]]);
    assert.equal(first.has_more, true);
    const seen = new Set(first.data.map((one) => one.customer_id));
    let { next_cursor: cursor } = first;
    while (cursor) {
      const next = conforms(await lava.customers.list({ limit: 2, cursor }), page(shapes.customer));
      for (const one of next.data) {
        assert.ok(!seen.has(one.customer_id));
        seen.add(one.customer_id);
      }
      cursor = next.next_cursor;
      assert.equal(next.has_more, Boolean(cursor));
    }
    assert.ok(seen.has(made[0]));
  });

  test('a deleted one is gone', async () => {
    const ident = await customer();
    assert.deepEqual(await lava.customers.delete(ident), { success: true });
    await refused(lava.customers.retrieve(ident), 404, 'not_found');
  });

  test('a reference that looks like an id is refused', async () => {
    const { message } = await refused(
      lava.customers.create({ reference_id: 'con_mine' }),
      400,
      'invalid_field',
    );
    assert.match(message, /reference_id/);
  });
});

describe('meters', () => {
  test('starts go in as strings and come out as numbers, the unit on every tier', async () => {
    const meter_slug = unique('slug');
    const made = conforms(
      await lava.meters.create({
        name: 'Tokens',
        meter_slug,
        rate_type: 'fixed',
        tier_type: 'tokens_1m',
        tiers: [
          { start: '0', rate: '5' },
          { start: '1000000', rate: '3.25' },
        ],
      }),
      shapes.meter,
    );
    assert.equal(made.meter_slug, meter_slug);
    assert.deepEqual(made.tiers, [
      { start: 0, rate: '5.0000000000', type: 'tokens_1m' },
      { start: 1000000, rate: '3.2500000000', type: 'tokens_1m' },
    ]);
    assert.deepEqual(await lava.meters.retrieve(made.meter_id), made);
  });

  for (const tier_type of ['tokens_1m', 'characters_1m', 'minutes', 'requests']) {
    test(`${tier_type} can be what a fixed or percentage meter counts`, async () => {
      for (const rate_type of ['fixed', 'percentage']) {
        const made = conforms(await meter('1.2', { rate_type, tier_type }), shapes.meter);
        assert.equal(made.rate_type, rate_type);
        assert.equal(made.tiers[0].type, tier_type);
      }
    });
  }

  test('name and tiers can change, nothing else', async () => {
    const made = await meter('1');
    const changed = conforms(
      await lava.meters.update(made.meter_id, {
        name: 'New name',
        tiers: [
          { start: '0', rate: '2' },
          { start: '10', rate: '1' },
        ],
      }),
      shapes.meter,
    );
    assert.equal(changed.name, 'New name');
    assert.deepEqual(changed.tiers.map((tier) => tier.start), [0, 10]);
    assert.equal((await lava.meters.update(made.meter_id, { name: 'Newer' })).tiers.length, 2);
    await refused(lava.meters.update(made.meter_id, { rate_type: 'percentage' }), 400, 'invalid_field');
  });

  test('are listed, and gone when deleted', async () => {
    const made = await meter('1');
    const listed = conforms(await lava.meters.list({ limit: 1 }), page(shapes.meter));
    assert.deepEqual(listed.data, [made]);
    const gone = conforms(await lava.meters.delete(made.meter_id), shapes.deleted);
    assert.equal(gone.id, made.meter_id);
    await refused(lava.meters.retrieve(made.meter_id), 404, 'not_found');
  });

  test('tiers that do not begin at zero are refused', async () => {
    const { message } = await refused(meter('1', { tiers: [{ start: '5', rate: '1' }] }), 400, 'invalid_field');
    assert.match(message, /tiers/);
  });
});

describe('secret keys', () => {
  test('the key is told once, works, and ends when deleted', async () => {
    const made = conforms(await lava.secretKeys.create({ name: 'Second' }), shapes.secretKey);
    assert.match(made.secret_key, /^aks_test_[A-Za-z0-9_-]{20,}$/);
    const other = withKey(made.secret_key);
    await other.customers.list();
    const listed = conforms(await other.secretKeys.list({ limit: 100 }), page(shapes.secretKey));
    const found = listed.data.find((key) => key.secret_key_id === made.secret_key_id);
    assert.equal(found.name, 'Second');
    assert.ok(listed.data.every((key) => !('secret_key' in key)));
    assert.ok(!found.secret_key_hint.includes(made.secret_key));
    const gone = conforms(await lava.secretKeys.delete(made.secret_key_id), shapes.deleted);
    assert.equal(gone.id, made.secret_key_id);
    await refused(other.customers.list(), 401, 'invalid_credentials');
  });
});

describe('wallet', () => {
  test('has an id and a balance', async () => {
    conforms(await lava.request('GET', 'wallet'), shapes.wallet);
  });

  test('payment methods are listed', async () => {
    const { data } = conforms(await lava.request('GET', 'payment_methods'), shapes.paymentMethods);
    assert.deepEqual(data.map((card) => [card.last4, card.is_default]), [['4242', true]]);
  });

  test('is funded with 10 to 10,000', async () => {
    const { data } = await lava.request('GET', 'payment_methods');
    const { payment_method_id } = data[0];
    const fund = (amount) =>
      lava.request('POST', 'wallet/fund', { data: { payment_method_id, amount } });
    const before = await lava.request('GET', 'wallet');
    const paid = conforms(await fund('50.00'), shapes.funding);
    assert.equal(paid.status, 'completed');
    assert.equal(Number(paid.balance) - Number(before.balance), 50);
    assert.equal((await lava.request('GET', 'wallet')).balance, paid.balance);
    await refused(fund('9.99'), 400, 'invalid_field');
    await refused(fund('10000.01'), 400, 'invalid_field');
    // The test provider declines by the cents.
    const { message } = await refused(fund('10.02'), 400, 'invalid_field');
    assert.match(message, /declined/);
  });
});

describe('webhooks', () => {
  test('are made, changed, listed and deleted; the secret is told once', async () => {
    const made = conforms(
      await lava.webhooks.create({ name: 'Mine', url: 'https://example.com/hook' }),
      shapes.webhook,
    );
    assert.ok(typeof made.webhook_secret === 'string' && made.webhook_secret.length >= 20);
    const { webhook_secret, ...known } = made;
    const found = conforms(await lava.webhooks.retrieve(made.webhook_id), shapes.webhook);
    assert.ok(!('webhook_secret' in found));
    for (const [name, value] of Object.entries(known)) assert.deepEqual(found[name], value);
    const changed = conforms(
      await lava.webhooks.update(made.webhook_id, { url: 'https://example.com/other' }),
      shapes.webhook,
    );
    assert.deepEqual([changed.name, changed.url], ['Mine', 'https://example.com/other']);
    assert.equal((await lava.webhooks.update(made.webhook_id, { name: 'Ours' })).name, 'Ours');
    const listed = conforms(await lava.webhooks.list({ limit: 1 }), page(shapes.webhook));
    assert.equal(listed.data[0].webhook_id, made.webhook_id);
    assert.ok(!JSON.stringify(listed).includes(webhook_secret));
    const gone = conforms(await lava.webhooks.delete(made.webhook_id), shapes.deleted);
    assert.equal(gone.id, made.webhook_id);
    await refused(lava.webhooks.retrieve(made.webhook_id), 404, 'not_found');
  });

  test('a url that is none is refused', async () => {
    await refused(lava.webhooks.create({ name: 'Mine', url: 'not a url' }), 400, 'invalid_field');
  });
});

describe('spend keys', () => {
  test('a plain one has every default', async () => {
    const made = conforms(await lava.spendKeys.create({ name: 'Plain' }), shapes.spendKey);
    assert.match(made.key, /^lava_sk_[A-Za-z0-9_-]{20,}$/);
    assert.ok(made.key.startsWith(made.key_preview.replace(/\*+$/, '')));
    const { key: _, key_preview, spend_key_id, wallet_id, created_at, ...rest } = made;
    for (const [name, value] of Object.entries({
      name: 'Plain',
      status: 'active',
      request_shape: 'openai',
      allowed_models: null,
      allowed_providers: null,
      spend_limit: null,
      current_spend: '0.0000000000',
      total_spend: '0.0000000000',
      request_limit: null,
      current_requests: 0,
      total_requests: 0,
      rate_limit: null,
      expires_at: null,
      last_used_at: null,
    })) {
      assert.deepEqual(rest[name], value, name);
    }
    assert.equal(wallet_id, (await lava.request('GET', 'wallet')).wallet_id);
    const found = conforms(await lava.spendKeys.retrieve(spend_key_id), shapes.spendKey);
    assert.ok(!('key' in found));
    assert.deepEqual([found.key_preview, found.created_at], [key_preview, created_at]);
  });

  test('limits are kept as they were given', async () => {
    const limits = {
      status: 'paused',
      request_shape: 'anthropic',
      allowed_models: ['claude-sonnet-4-5'],
      allowed_providers: ['anthropic'],
      spend_limit: { amount: '25.5000000000', cycle: 'monthly' },
      request_limit: { count: 100, cycle: 'daily' },
      rate_limit: { rpm: 60, burst: 10 },
    };
    const made = conforms(
      await lava.spendKeys.create({
        name: 'Limited',
        ...limits,
        spend_limit: { amount: '25.50', cycle: 'monthly' },
        expires_at: '2099-01-01T00:00:00Z',
      }),
      shapes.spendKey,
    );
    for (const [name, value] of Object.entries(limits)) assert.deepEqual(made[name], value, name);
    assert.equal(Date.parse(made.expires_at), Date.parse('2099-01-01T00:00:00Z'));
  });

  test('an update sets what it names, and null lifts a limit', async () => {
    const { spend_key_id } = await lava.spendKeys.create({
      name: 'Old',
      allowed_models: ['gpt-4o-mini'],
      rate_limit: { rpm: 5 },
    });
    const changed = conforms(
      await lava.spendKeys.update(spend_key_id, { name: 'New', rate_limit: null }),
      shapes.spendKey,
    );
    assert.deepEqual([changed.name, changed.rate_limit, changed.allowed_models], ['New', null, ['gpt-4o-mini']]);
    const opened = await lava.spendKeys.update(spend_key_id, { allowed_models: null });
    assert.equal(opened.allowed_models, null);
  });

  test('rotation gives a new key with the same limits; revoking ends it', async () => {
    const made = await lava.spendKeys.create({ name: 'Turning', rate_limit: { rpm: 5 } });
    const turned = conforms(await lava.spendKeys.rotate(made.spend_key_id), shapes.spendKey);
    assert.equal(turned.spend_key_id, made.spend_key_id);
    assert.notEqual(turned.key, made.key);
    assert.deepEqual(turned.rate_limit, made.rate_limit);
    const listed = conforms(await lava.spendKeys.list({ limit: 100 }), page(shapes.spendKey));
    assert.ok(listed.data.some((key) => key.spend_key_id === made.spend_key_id));
    assert.ok(listed.data.every((key) => !('key' in key)));
    conforms(await lava.spendKeys.revoke(made.spend_key_id), shapes.success);
    const after = await lava.spendKeys.list({ limit: 100 });
    assert.ok(after.data.every((key) => key.spend_key_id !== made.spend_key_id));
  });
});

describe('the catalogue', () => {
  test('models are listed as OpenAI lists them', async () => {
    const { data } = conforms(await lava.models.list(), shapes.models);
    assert.ok(data.some((model) => model.id === 'gpt-4o-mini' && model.owned_by));
  });

  test('services are listed, and by provider', async () => {
    const all = conforms(await lava.request('GET', 'services'), shapes.services);
    assert.ok(all.data.length > 0);
    const some = await lava.request('GET', 'services', { query: { provider: 'openai' } });
    assert.ok(some.data.length > 0);
    assert.ok(some.data.every((service) => service.provider === 'openai'));
  });
});

describe('errors', () => {
  test('an unknown key is told as the SDK tells it', async () => {
    const { status, text: reason, detail } = await thrown(withKey('aks_test_wrong').customers.list());
    assert.deepEqual([status, reason], [401, 'Unauthorized']);
    assert.equal(detail.code, 'invalid_credentials');
  });

  test('what is not there is told by its id', async () => {
    const { text: reason, detail } = await thrown(lava.customers.retrieve('con_test_none'));
    assert.equal(reason, 'Not Found');
    assert.match(detail.message, /con_test_none/);
  });

  test('an unknown path and an unknown field are refused', async () => {
    await refused(lava.request('GET', 'no_such_thing'), 404, 'not_found');
    const { message } = await refused(
      lava.customers.create({ nickname: 'Ada' }),
      400,
      'invalid_field',
    );
    assert.match(message, /nickname/);
  });

  test('a page size out of bounds is refused', async () => {
    await refused(lava.customers.list({ limit: 101 }), 400, 'invalid_field');
  });
});

test('no call that the SDK has is left out of these tests', async () => {
  const here = new URL('.', import.meta.url);
  const files = (await readdir(here)).filter((name) => name.startsWith('lava_'));
  const told = (await Promise.all(files.map((name) => readFile(new URL(name, here), 'utf8')))).join();
  const calls = Object.entries(lava).flatMap(([name, resource]) =>
    typeof resource === 'object' && name !== 'providers'
      ? Object.getOwnPropertyNames(Object.getPrototypeOf(resource))
          .filter((method) => method !== 'constructor')
          .map((method) => `.${name}.${method}(`)
      : [],
  );
  assert.ok(calls.length > 40);
  const missing = [...calls, 'lava.request(', 'lava.gateway(', 'Lava.exchangeAuthCode(', 'Lava.login(']
    .filter((call) => !told.includes(call));
  assert.deepEqual(missing, []);
});

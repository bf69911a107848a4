// What the files of tests share: where things are, and what the gateway's books say.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { Lava } from '@lavapayments/nodejs';

const { LAVA_TEST_URL, LAVA_TEST_KEY, FAKE_URL, FAKE_CONTROL_URL } = process.env;

export const url = LAVA_TEST_URL;
export const baseUrl = `${url}/v1/`;
export const secretKey = LAVA_TEST_KEY;
export const fakeUrl = FAKE_URL;
export const lava = new Lava(secretKey, { baseUrl });

const WAIT_MS_MAX = 10_000;

/** A name that no other test has. */
export const unique = (stem) => `${stem}_${randomUUID().slice(0, 8)}`;

/** What the fake provider is told to do; see control.py. */
export async function control(call, body) {
  const answer = await fetch(`${FAKE_CONTROL_URL}/${call}`, {
    method: call === 'calls' || call === 'corpus' ? 'GET' : 'POST',
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

/** A new customer's id, with credit of the given amount. */
export async function customer(credit) {
  const made = await lava.customers.create({});
  if (credit !== undefined) {
    await lava.request('POST', `customers/${made.customer_id}/credit_grants`, {
      data: { amount: credit },
    });
  }
  return made.customer_id;
}

/** A new meter of one tier, per million tokens unless told. */
export const meter = (rate, more = {}) =>
  lava.meters.create({
    name: unique('meter'),
    rate_type: 'fixed',
    tier_type: 'tokens_1m',
    tiers: [{ start: '0', rate }],
    ...more,
  });

/** Whether a call's hold has ended: then its record is there. */
async function settled() {
  const held = await lava.request('GET', 'reservations', { query: { state: 'active' } });
  return held.data.length === 0;
}

/** A customer's records, newest first, once nothing is held any more. */
export async function records(customerId) {
  const until = Date.now() + WAIT_MS_MAX;
  while (!(await settled())) {
    assert.ok(Date.now() < until, 'a hold has not ended');
    await pause(10);
  }
  return (await lava.requests.list({ customer_id: customerId, limit: 100 })).data;
}

/** Input and output tokens of a customer's only request. */
export async function used(customerId) {
  const found = await records(customerId);
  assert.equal(found.length, 1);
  return [found[0].model_usage.input_tokens, found[0].model_usage.output_tokens];
}

/** The status, and the parsed `error` object or text, of what a call of the Lava SDK throws. */
export async function thrown(promise) {
  const error = await promise.then(
    () => assert.fail('the call succeeded'),
    (reason) => reason,
  );
  const [, status, text, detail] =
    /^Lava API Error: (\d{3}) ([^{]*?) - (.*)$/s.exec(error.message) ?? assert.fail(error.stack);
  return { status: Number(status), text, detail: detail.startsWith('{') ? JSON.parse(detail) : detail };
}

/** Fails unless the call is refused by our own error body, with this status and code. */
export async function refused(promise, status, code) {
  const { status: got, detail } = await thrown(promise);
  assert.equal(got, status, JSON.stringify(detail));
  assert.equal(detail.status, status);
  assert.equal(detail.code, code);
  assert.ok(typeof detail.message === 'string' && detail.message);
  return detail;
}

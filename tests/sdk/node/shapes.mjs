// The contract's objects, field by field: name, type, null or absent, and how numbers are written.
// What the gateway answers beyond them is its own.

import assert from 'node:assert/strict';

const check = (what, test) => (value, at) =>
  assert.ok(test(value), `${at} is ${JSON.stringify(value)}, not ${what}`);
const pattern = (what, expression) =>
  check(what, (value) => typeof value === 'string' && expression.test(value));

export const text = check('a string', (value) => typeof value === 'string');
export const filled = check('a string with text', (value) => typeof value === 'string' && value !== '');
export const integer = check('a whole number', Number.isSafeInteger);
export const number = check('a number', (value) => typeof value === 'number');
export const flag = check('true or false', (value) => typeof value === 'boolean');
export const money = pattern('a decimal string with ten places', /^-?\d+\.\d{10}$/);
export const time = pattern('a time in UTC', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
export const day = pattern('a date', /^\d{4}-\d\d-\d\d$/);
export const id = (prefix) =>
  pattern(`an id with ${prefix}_test_`, new RegExp(`^${prefix}_test_[0-9A-HJKMNP-TV-Z]{26}$`));
export const is = (expected) => check(JSON.stringify(expected), (value) => value === expected);
export const oneOf = (...values) => check(`one of ${values}`, (value) => values.includes(value));

export const orNull = (shape) => (value, at) => value === null || shape(value, at);
const absence = Symbol('may be absent');
/** May be left out; but if it is there, it is no null. */
export const optional = (shape) => Object.assign((value, at) => shape(value, at), { [absence]: true });

export const list = (shape) => (value, at) => {
  assert.ok(Array.isArray(value), `${at} is no list`);
  value.forEach((item, index) => shape(item, `${at}[${index}]`));
};
export const labels = (value, at) => {
  assert.ok(value !== null && typeof value === 'object', `${at} is no object`);
  for (const [name, label] of Object.entries(value)) text(label, `${at}.${name}`);
};
export const object = (fields) => {
  const shape = (value, at) => {
    assert.ok(value !== null && typeof value === 'object', `${at} is no object`);
    for (const [name, inner] of Object.entries(fields)) {
      if (name in value) inner(value[name], `${at}.${name}`);
      else assert.ok(inner[absence], `${at}.${name} is missing`);
    }
  };
  return Object.assign(shape, { fields });
};
export const page = (shape) =>
  object({ data: list(shape), has_more: flag, next_cursor: optional(orNull(filled)) });

/** Fails unless the value has the shape; returns the value. */
export function conforms(value, shape, at = 'answer') {
  shape(value, at);
  return value;
}

const unit = oneOf('tokens_1m', 'characters_1m', 'minutes', 'requests');
const rateType = oneOf('fixed', 'percentage');
const rollover = oneOf('full', 'none');
const interval = oneOf('day', 'week', 'month', 'year');

export const deleted = object({ id: filled, deleted: is(true) });
export const success = object({ success: is(true) });

export const customer = object({
  customer_id: id('con'),
  reference_id: orNull(text),
  contact: object({ phone: text, email: text, first_name: text, last_name: text }),
  subscription: orNull(
    object({
      subscription_id: filled,
      plan_id: filled,
      name: filled,
      status: oneOf('active', 'cancelled'),
    }),
  ),
  metadata: orNull(object({})),
  created_at: time,
});

const tier = object({ start: integer, rate: money, type: unit });
export const meter = object({
  meter_id: id('prd'),
  meter_slug: filled,
  name: filled,
  rate_type: rateType,
  tiers: list(tier),
  created_at: time,
});

export const request = object({
  request_id: filled,
  status: oneOf('pending', 'completed', 'error'),
  customer_id: optional(id('con')),
  meter_id: optional(id('prd')),
  provider: filled,
  provider_key_type: oneOf('managed', 'unmanaged', 'stored'),
  model: optional(filled),
  endpoint: filled,
  response_id: optional(filled),
  model_usage: object({
    input_tokens: integer,
    output_tokens: integer,
    total_tokens: integer,
    input_characters: integer,
    output_characters: integer,
    total_characters: integer,
    input_seconds: number,
    output_seconds: number,
    total_seconds: number,
    input_cost: money,
    output_cost: money,
    total_cost: money,
  }),
  cost: money,
  charge: object({
    amount: money,
    rate_type: rateType,
    breakdown: list(
      object({ tier, tokens: integer, characters: integer, seconds: number, cost: money }),
    ),
  }),
  metadata: labels,
  timestamp: optional(time),
  created_at: time,
});

const sums = {
  total_requests: integer,
  total_usage_tokens: integer,
  total_cost: money,
  total_charge: money,
};
export const usage = object({
  items: list(object({ date: day, start: text, end: text, ...sums })),
  totals: object(sums),
});

const bundle = { credit_bundle_id: filled, name: filled, cost: money, credit_amount: money };
export const creditBundle = object({ ...bundle, plan_id: filled, created_at: time });
export const plan = object({
  plan_id: filled,
  merchant_id: filled,
  name: filled,
  period_amount: money,
  included_credit: money,
  billing_interval: interval,
  rollover_type: rollover,
  bundle_rollover_type: rollover,
  default_auto_top_up_bundle_id: orNull(filled),
  linked_meters: list(object({ meter_id: id('prd'), name: filled })),
  credit_bundles: list(object(bundle)),
  created_at: time,
});

const subscriptionBase = {
  subscription_id: filled,
  plan_id: filled,
  status: oneOf('active', 'cancelled'),
  auto_top_up_bundle_id: orNull(filled),
  started_at: time,
  cancelled_at: orNull(time),
  cycle_start_at: orNull(time),
  cycle_end_at: orNull(time),
  plan: object({
    name: filled,
    period_amount: money,
    included_credit: money,
    billing_interval: interval,
    rollover_type: rollover,
    bundle_rollover_type: rollover,
  }),
  credits: object({ total_remaining: money, cycle_remaining: money, bundle_remaining: money }),
  pending_change: orNull(
    object({
      type: oneOf('cancellation', 'downgrade'),
      effective_at: orNull(time),
      plan_id: optional(filled),
      name: optional(filled),
      period_amount: optional(money),
      included_credit: optional(money),
    }),
  ),
};
export const subscription = object(subscriptionBase);
export const customerSubscription = object({ subscription: orNull(subscription) });
export const listedSubscription = object({
  ...subscriptionBase,
  customer_id: id('con'),
  customer: object({
    phone: text,
    email: optional(text),
    first_name: optional(text),
    last_name: optional(text),
  }),
});

export const webhook = object({ webhook_id: filled, name: filled, url: filled, created_at: time });

export const secretKey = object({
  secret_key_id: filled,
  name: filled,
  secret_key_hint: filled,
  created_at: time,
});

const cycle = oneOf('daily', 'weekly', 'monthly', 'total');
export const spendKey = object({
  spend_key_id: filled,
  key_preview: pattern('a key that is cut short', /^lava_sk_.{1,12}\*{4}$/),
  name: filled,
  status: oneOf('active', 'paused'),
  request_shape: oneOf('openai', 'anthropic'),
  wallet_id: filled,
  allowed_models: orNull(list(filled)),
  allowed_providers: orNull(list(filled)),
  spend_limit: orNull(object({ amount: money, cycle })),
  current_spend: money,
  total_spend: money,
  request_limit: orNull(object({ count: integer, cycle })),
  current_requests: integer,
  total_requests: integer,
  rate_limit: orNull(object({ rpm: integer, burst: orNull(integer) })),
  expires_at: orNull(time),
  last_used_at: orNull(time),
  created_at: time,
});

export const models = object({
  object: is('list'),
  data: list(object({ id: filled, object: is('model'), created: integer, owned_by: filled })),
});

export const services = object({
  data: list(
    object({ id: filled, object: text, provider: filled, endpoint: text, method: text, managed: flag }),
  ),
  providers: list(object({ id: filled, label: filled, managed: flag, entry_count: integer })),
});

export const wallet = object({ wallet_id: filled, balance: money });
export const paymentMethods = object({
  data: list(
    object({
      payment_method_id: filled,
      last4: text,
      expiry_month: orNull(integer),
      expiry_year: orNull(integer),
      brand: text,
      is_default: flag,
      has_error: flag,
      error_code: orNull(text),
      error_message: orNull(text),
      error_at: orNull(time),
    }),
  ),
});
export const funding = object({
  status: oneOf('completed', 'requires_action'),
  payment_id: filled,
  balance: optional(money),
  redirect_url: optional(filled),
});

// Lava's Node SDK: plans, credit bundles and subscriptions.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import * as shapes from './shapes.mjs';
import { conforms, page } from './shapes.mjs';
import { customer, lava, meter, refused, thrown, unique } from './support.mjs';

const makePlan = async (more = {}) =>
  conforms(
    await lava.subscriptions.createPlan({
      name: unique('plan'),
      period_amount: '0',
      billing_interval: 'month',
      ...more,
    }),
    shapes.plan,
  );

const bundles = [
  { name: 'Small', cost: '5', credit_amount: '5' },
  { name: 'Large', cost: '49.00', credit_amount: '60' },
];

describe('plans', () => {
  test('what is left out has its default', async () => {
    const made = await makePlan({ period_amount: '20' });
    assert.equal(made.period_amount, '20.0000000000');
    assert.equal(made.included_credit, '20.0000000000');
    assert.equal(made.rollover_type, 'none');
    assert.equal(made.bundle_rollover_type, 'full');
    assert.equal(made.default_auto_top_up_bundle_id, null);
    assert.deepEqual([made.linked_meters, made.credit_bundles], [[], []]);
    assert.deepEqual(await lava.subscriptions.retrievePlan(made.plan_id), made);
  });

  test('meters and bundles come with it, and a bundle by its index tops up', async () => {
    const linked = await meter('1');
    const made = await makePlan({
      period_amount: '49.00',
      billing_interval: 'year',
      included_credit: '25',
      rollover_type: 'full',
      bundle_rollover_type: 'none',
      meter_ids: [linked.meter_id],
      credit_bundles: bundles,
      default_auto_top_up_bundle_index: 1,
    });
    assert.deepEqual(made.linked_meters, [{ meter_id: linked.meter_id, name: linked.name }]);
    assert.deepEqual(
      made.credit_bundles.map(({ name, cost, credit_amount }) => [name, cost, credit_amount]),
      [
        ['Small', '5.0000000000', '5.0000000000'],
        ['Large', '49.0000000000', '60.0000000000'],
      ],
    );
    assert.equal(made.default_auto_top_up_bundle_id, made.credit_bundles[1].credit_bundle_id);
    assert.deepEqual(
      [made.billing_interval, made.included_credit, made.rollover_type, made.bundle_rollover_type],
      ['year', '25.0000000000', 'full', 'none'],
    );
  });

  test('an edit reconciles the bundles', async () => {
    const made = await makePlan({ credit_bundles: bundles });
    const [small, large] = made.credit_bundles;
    const changed = conforms(
      await lava.subscriptions.updatePlan(made.plan_id, {
        name: 'Renamed',
        rollover_type: 'full',
        credit_bundles: [
          { credit_bundle_id: small.credit_bundle_id, name: 'Small', cost: '6', credit_amount: '7' },
          { ...large, is_deleted: true },
          { name: 'Huge', cost: '100', credit_amount: '150' },
        ],
      }),
      shapes.plan,
    );
    assert.deepEqual([changed.name, changed.rollover_type], ['Renamed', 'full']);
    const byName = Object.fromEntries(changed.credit_bundles.map((bundle) => [bundle.name, bundle]));
    assert.deepEqual(Object.keys(byName).sort(), ['Huge', 'Small']);
    assert.equal(byName.Small.credit_bundle_id, small.credit_bundle_id);
    assert.equal(byName.Small.credit_amount, '7.0000000000');
    const kept = await lava.subscriptions.updatePlan(made.plan_id, {
      default_auto_top_up_bundle_id: byName.Huge.credit_bundle_id,
    });
    assert.equal(kept.default_auto_top_up_bundle_id, byName.Huge.credit_bundle_id);
    const cleared = await lava.subscriptions.updatePlan(made.plan_id, {
      default_auto_top_up_bundle_id: null,
    });
    assert.equal(cleared.default_auto_top_up_bundle_id, null);
  });

  test('price and interval stay as they were', async () => {
    const { plan_id } = await makePlan();
    await refused(lava.subscriptions.updatePlan(plan_id, { period_amount: '5' }), 400, 'invalid_field');
    await refused(lava.subscriptions.updatePlan(plan_id, { billing_interval: 'day' }), 400, 'invalid_field');
  });

  test('are listed, the free one that every merchant has among them, and deleted', async () => {
    const made = await makePlan();
    const { data } = conforms(await lava.subscriptions.listPlans({ limit: 100 }), page(shapes.plan));
    assert.ok(data.some((plan) => plan.plan_id === made.plan_id));
    const free = data.find((plan) => plan.name === 'Free');
    assert.equal(free.period_amount, '0.0000000000');
    const gone = conforms(await lava.subscriptions.deletePlan(made.plan_id), shapes.deleted);
    assert.equal(gone.id, made.plan_id);
    await refused(lava.subscriptions.retrievePlan(made.plan_id), 404, 'not_found');
  });

  test('one that costs more than 10,000 a cycle is refused', async () => {
    await refused(makePlan({ period_amount: '10000.01' }), 400, 'invalid_field');
  });
});

describe('credit bundles', () => {
  test("are a plan's, listed by it and read by id", async () => {
    const made = await makePlan({ credit_bundles: bundles });
    await makePlan({ credit_bundles: bundles });
    const { plan_id } = made;
    const found = conforms(await lava.creditBundles.list({ plan_id }), page(shapes.creditBundle));
    assert.equal(found.data.length, 2);
    assert.ok(found.data.every((bundle) => bundle.plan_id === plan_id));
    const [small] = made.credit_bundles;
    const one = conforms(await lava.creditBundles.retrieve(small.credit_bundle_id), shapes.creditBundle);
    for (const [name, value] of Object.entries(small)) assert.deepEqual(one[name], value);
    await refused(lava.creditBundles.retrieve('cb_none'), 404, 'not_found');
  });
});

describe('subscriptions', () => {
  const subscribed = async (more = {}) => {
    const plan = await makePlan({ included_credit: '5', credit_bundles: bundles, ...more });
    const customer_id = await customer();
    const { subscription } = conforms(
      await lava.subscriptions.create({ customer_id, plan_id: plan.plan_id }),
      shapes.object({ subscription: shapes.subscription }),
    );
    return { plan, customer_id, subscription };
  };

  test('a free plan begins at once, with its credit', async () => {
    const { plan, customer_id, subscription } = await subscribed();
    assert.deepEqual(
      [subscription.plan_id, subscription.status, subscription.cancelled_at, subscription.pending_change],
      [plan.plan_id, 'active', null, null],
    );
    for (const name of Object.keys(shapes.subscription.fields.plan.fields)) {
      assert.equal(subscription.plan[name], plan[name], name);
    }
    assert.deepEqual(subscription.credits, {
      total_remaining: '5.0000000000',
      cycle_remaining: '5.0000000000',
      bundle_remaining: '0.0000000000',
    });
    assert.ok(Date.parse(subscription.cycle_end_at) > Date.parse(subscription.cycle_start_at));
    const told = conforms(await lava.customers.getSubscription(customer_id), shapes.customerSubscription);
    assert.deepEqual(told.subscription, subscription);
    const owner = conforms(await lava.customers.retrieve(customer_id), shapes.customer);
    assert.deepEqual(owner.subscription, {
      subscription_id: subscription.subscription_id,
      plan_id: plan.plan_id,
      name: plan.name,
      status: 'active',
    });
  });

  test('a charge comes out of the cycle credit', async () => {
    const { customer_id } = await subscribed();
    await lava.requests.create({
      request_id: unique('req'),
      customer_id,
      meter_slug: (await meter('1')).meter_slug,
      input_tokens: 2_000_000,
    });
    const { subscription } = await lava.customers.getSubscription(customer_id);
    assert.equal(subscription.credits.cycle_remaining, '3.0000000000');
    assert.equal(subscription.credits.total_remaining, '3.0000000000');
  });

  test('a paid plan is not given away', async () => {
    const { plan_id } = await makePlan({ period_amount: '20' });
    const { status } = await thrown(
      lava.subscriptions.create({ customer_id: await customer(), plan_id }),
    );
    assert.ok(status >= 400 && status < 500);
  });

  test('are listed with their customers, by customer and status', async () => {
    const { customer_id, subscription } = await subscribed();
    const found = conforms(
      await lava.subscriptions.list({ customer_id, status: 'active' }),
      page(shapes.listedSubscription),
    );
    assert.deepEqual(
      found.data.map((one) => [one.subscription_id, one.customer_id]),
      [[subscription.subscription_id, customer_id]],
    );
    for (const status of ['all', undefined]) {
      const listed = await lava.subscriptions.list({ customer_id, status });
      assert.ok(listed.data.some((one) => one.subscription_id === subscription.subscription_id));
    }
    const cancelled = await lava.subscriptions.list({ customer_id, status: 'cancelled' });
    assert.ok(cancelled.data.every((one) => one.status === 'cancelled'));
  });

  test("auto top-up names one of the plan's bundles, and null ends it", async () => {
    const { plan, customer_id, subscription } = await subscribed();
    const ident = subscription.subscription_id;
    const auto_top_up_bundle_id = plan.credit_bundles[0].credit_bundle_id;
    const now = async () => (await lava.customers.getSubscription(customer_id)).subscription;
    conforms(await lava.subscriptions.update(ident, { auto_top_up_bundle_id }), shapes.success);
    assert.equal((await now()).auto_top_up_bundle_id, auto_top_up_bundle_id);
    const other = await makePlan({ credit_bundles: bundles });
    const { status } = await thrown(
      lava.subscriptions.update(ident, {
        auto_top_up_bundle_id: other.credit_bundles[0].credit_bundle_id,
      }),
    );
    assert.ok(status === 400 || status === 404);
    conforms(await lava.subscriptions.update(ident, { auto_top_up_bundle_id: null }), shapes.success);
    assert.equal((await now()).auto_top_up_bundle_id, null);
  });

  test('a cancelled one goes on to the end of its cycle', async () => {
    const { customer_id, subscription } = await subscribed();
    conforms(await lava.subscriptions.cancel(subscription.subscription_id), shapes.success);
    const told = conforms(await lava.customers.getSubscription(customer_id), shapes.customerSubscription);
    assert.equal(told.subscription.status, 'active');
    assert.equal(told.subscription.pending_change.type, 'cancellation');
    assert.equal(told.subscription.pending_change.effective_at, subscription.cycle_end_at);
  });
});

"""Every RPC but Forward and what answers it, in one table."""

from __future__ import annotations

from collections.abc import Callable

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.handlers.credit import CreditHandlers
from lava_grpc.api.handlers.customers import CustomerHandlers
from lava_grpc.api.handlers.gateway import GatewayHandlers
from lava_grpc.api.handlers.history import HistoryHandlers
from lava_grpc.api.handlers.keys import SecretKeyHandlers
from lava_grpc.api.handlers.many import ManyHandlers
from lava_grpc.api.handlers.meters import MeterHandlers
from lava_grpc.api.handlers.models import ModelHandlers
from lava_grpc.api.handlers.payments import PaymentHandlers
from lava_grpc.api.handlers.plans import PlanHandlers
from lava_grpc.api.handlers.provider_keys import ProviderKeyHandlers
from lava_grpc.api.handlers.spend_keys import SpendKeyHandlers
from lava_grpc.api.handlers.subscriptions import SubscriptionHandlers
from lava_grpc.api.handlers.usage_days import UsageHandlers
from lava_grpc.api.handlers.webhooks import WebhookHandlers
from lava_grpc.gateway.authorize import Authorizer
from lava_grpc.gateway.credit import Credit
from lava_grpc.gateway.customers import Customers
from lava_grpc.gateway.history import History
from lava_grpc.gateway.keys import SecretKeys
from lava_grpc.gateway.meters import Meters
from lava_grpc.gateway.offers import Catalogues
from lava_grpc.gateway.payments import Payments
from lava_grpc.gateway.plans import Plans
from lava_grpc.gateway.provider_keys import ProviderKeys
from lava_grpc.gateway.report import Reporter
from lava_grpc.gateway.reservations import Reservations
from lava_grpc.gateway.spend_keys import SpendKeys
from lava_grpc.gateway.subscriptions import Subscriptions
from lava_grpc.gateway.usage_days import UsageReports
from lava_grpc.gateway.webhooks import Webhooks


def build_handlers(
    *,
    authorize: Authorizer,
    report: Reporter,
    reservations: Reservations,
    customers: Customers,
    meters: Meters,
    keys: SecretKeys,
    spend_keys: SpendKeys,
    provider_keys: ProviderKeys,
    credit: Credit,
    history: History,
    usage: UsageReports,
    catalogues: Catalogues,
    webhooks: Webhooks,
    plans: Plans,
    subscriptions: Subscriptions,
    payments: Payments,
    key_revoked: Callable[[str], None],
) -> Handlers:
    """The handlers of every RPC but Forward. `key_revoked` is the authenticator's `forget`."""
    return {
        **GatewayHandlers(authorize, report, reservations).table(),
        **ManyHandlers(authorize, report).table(),
        **CustomerHandlers(customers).table(),
        **MeterHandlers(meters).table(),
        **SecretKeyHandlers(keys, key_revoked).table(),
        **SpendKeyHandlers(spend_keys, key_revoked).table(),
        **ProviderKeyHandlers(provider_keys).table(),
        **CreditHandlers(credit).table(),
        **HistoryHandlers(history).table(),
        **UsageHandlers(usage).table(),
        **ModelHandlers(catalogues).table(),
        **WebhookHandlers(webhooks).table(),
        **PlanHandlers(plans).table(),
        **SubscriptionHandlers(subscriptions).table(),
        **PaymentHandlers(payments).table(),
    }

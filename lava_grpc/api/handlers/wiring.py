"""Every unary RPC and what answers it, in one table."""

from __future__ import annotations

from collections.abc import Callable

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.handlers.credit import CreditHandlers
from lava_grpc.api.handlers.customers import CustomerHandlers
from lava_grpc.api.handlers.gateway import GatewayHandlers
from lava_grpc.api.handlers.history import HistoryHandlers
from lava_grpc.api.handlers.keys import SecretKeyHandlers
from lava_grpc.api.handlers.meters import MeterHandlers
from lava_grpc.gateway.authorize import Authorizer
from lava_grpc.gateway.credit import Credit
from lava_grpc.gateway.customers import Customers
from lava_grpc.gateway.history import History
from lava_grpc.gateway.keys import SecretKeys
from lava_grpc.gateway.meters import Meters
from lava_grpc.gateway.report import Reporter
from lava_grpc.gateway.reservations import Reservations


def build_handlers(
    *,
    authorize: Authorizer,
    report: Reporter,
    reservations: Reservations,
    customers: Customers,
    meters: Meters,
    keys: SecretKeys,
    credit: Credit,
    history: History,
    key_revoked: Callable[[str], None],
) -> Handlers:
    """The handlers of every unary RPC. `key_revoked` is the authenticator's `forget`."""
    return {
        **GatewayHandlers(authorize, report, reservations).table(),
        **CustomerHandlers(customers).table(),
        **MeterHandlers(meters).table(),
        **SecretKeyHandlers(keys, key_revoked).table(),
        **CreditHandlers(credit).table(),
        **HistoryHandlers(history).table(),
    }

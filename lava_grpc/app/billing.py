"""Plans, subscriptions and payments, put together."""

from __future__ import annotations

from types import MappingProxyType

from lava_grpc import config
from lava_grpc.core.ids import IdSource
from lava_grpc.core.time import Clock
from lava_grpc.gateway.cashier import Cashier
from lava_grpc.gateway.charging import Charging
from lava_grpc.gateway.collector import Collector
from lava_grpc.gateway.payment_providers import ManualProvider, PaymentProvider, TestProvider
from lava_grpc.gateway.payments import Payments
from lava_grpc.gateway.plans import Plans
from lava_grpc.gateway.ports import Books, DeferringLedger, Resources
from lava_grpc.gateway.subscriptions import Subscriptions
from lava_grpc.gateway.top_ups import ToppingUp, TopUps
from lava_grpc.store.billing import StoreBilling
from lava_grpc.store.database import Database
from lava_grpc.store.payments import StorePayments

_PROVIDERS: MappingProxyType[config.PaymentProviderName, type[PaymentProvider]] = MappingProxyType(
    {
        config.PaymentProviderName.MANUAL: ManualProvider,
        config.PaymentProviderName.TEST: TestProvider,
    }
)


class BillingParts:
    """The use cases, and what runs beside them."""

    def __init__(
        self,
        settings: config.Settings,
        database: Database,
        resources: Resources,
        books: Books,
        ledger: DeferringLedger,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        billing, payments = StoreBilling(database), StorePayments(database)
        self.plans = Plans(billing, resources, clock=clock, ids=ids)
        cashier = Cashier(
            payments,
            billing,
            books,
            ledger,
            _PROVIDERS[settings.payment_provider](),
            clock=clock,
            ids=ids,
            charge_seconds=settings.payment_seconds,
        )
        charging = Charging(payments, billing, cashier, clock=clock, ids=ids)
        self.subscriptions = Subscriptions(
            billing, resources, ledger, self.plans, charging, clock=clock, ids=ids
        )
        self.payments = Payments(payments, billing, resources, books, cashier, clock=clock, ids=ids)
        self.top_ups = TopUps(billing, books, payments, cashier, clock=clock, ids=ids)
        self.collector = Collector(payments, cashier, clock)
        # What holds go through: where credit does not do, some may be bought.
        self.ledger = ToppingUp(ledger, self.top_ups)

    def low(self, merchant_id: str, account_id: str) -> None:
        """See `store.ledger_store.Watch`."""
        self.top_ups.low(merchant_id, account_id)

    def owed(self) -> None:
        """See `store.ledger_store.Watch`."""
        self.collector.wake()

    def start(self) -> None:
        """Begin to see payments through."""
        self.collector.start()

    async def stop(self) -> None:
        """Leave what is open to whoever runs next."""
        await self.top_ups.stop()
        await self.collector.stop()

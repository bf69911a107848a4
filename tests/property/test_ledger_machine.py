"""The ledger's core under random batches: `ledger_machine.py` says which."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import settings
from typing_extensions import override

from lava_grpc.core.account import Account
from lava_grpc.core.commands import Command
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.plans import Plan
from lava_grpc.core.time import SECOND
from tests.property.ledger_machine import LedgerMachine
from tests.support.invariants import Books
from tests.support.ledger_rows import LedgerRows


class CoreMachine(LedgerMachine):
    """On rows in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = LedgerRows()

    @override
    def open(self, accounts: Sequence[Account], plan: Plan) -> None:
        for account in accounts:
            self.rows.add_account(account)
        self.rows.plans[plan.merchant_id, plan.plan_id] = plan

    @override
    def apply(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        return self.rows.run(commands, self.now * SECOND).outcomes

    @override
    def books(self) -> Books:
        return self.rows.books()


TestLedger = CoreMachine.TestCase
# Rare turns of events need more tries than a law of arithmetic.
TestLedger.settings = settings(max_examples=2 * settings().max_examples)

"""The table: every RPC's bad inputs, and the reason and field that each is refused with.

The same rows hold over gRPC and over REST.
"""

from __future__ import annotations

from tests.contract.case import Case
from tests.contract.refusals_billing import BILLING_CASES
from tests.contract.refusals_gateway import GATEWAY_CASES
from tests.contract.refusals_management import MANAGEMENT_CASES
from tests.contract.refusals_outlook import OUTLOOK_CASES
from tests.contract.refusals_provider_keys import provider_keys
from tests.contract.refusals_spend_keys import spend_keys

CASES: list[Case] = [
    *GATEWAY_CASES,
    *MANAGEMENT_CASES,
    *OUTLOOK_CASES,
    *spend_keys(),
    *provider_keys(),
    *BILLING_CASES,
]

"""Wraps a management endpoint: counts its calls against the key's rate."""

from __future__ import annotations

from dataclasses import replace

from lava_grpc.api.credentials import find_credential
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest.errors import refused
from lava_grpc.rest.http import Answer, Incoming
from lava_grpc.rest.key_rates import KeyRates
from lava_grpc.rest.router import Endpoint, Params
from lava_grpc.rest.url_fields import parse_query


def limited(endpoint: Endpoint, rates: KeyRates) -> Endpoint:
    """`endpoint`, for as many calls as the caller's key may make; every answer says how many."""

    async def count(request: Incoming, params: Params) -> Answer:
        pairs = parse_query(request.query)
        credential = find_credential(request.headers, dict(reversed(pairs))) or ""
        try:
            headers = rates.counted(credential)
        except Refusal as refusal:
            return rates.limited(credential, refusal)
        good = True
        try:
            answer = await endpoint(request, params)
        except Refusal as refusal:
            # Whoever was let in is told of everything else.
            good = refusal.reason is not Reason.INVALID_CREDENTIALS
            answer = refused(refusal)
        if good and not headers:
            headers = rates.good(credential)
        return replace(answer, headers={**answer.headers, **headers})

    return count

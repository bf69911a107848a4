"""How a delivery proves where it comes from: in Lava's way, and as Standard Webhooks.

`X-Webhook-Signature` is the hex HMAC-SHA256 of the body, keyed with the secret
as it is written. `webhook-signature` is that of standardwebhooks.com: over id,
time stamp and body, keyed with the bytes that the secret spells in base64.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
_SECRET_BYTES = 32


def new_secret() -> str:
    """A secret that nobody can guess, as Standard Webhooks writes one."""
    return SECRET_PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature_headers(
    secret: str, *, delivery_id: str, sent_at_seconds: int, body: bytes
) -> dict[str, str]:
    """The headers that a receiver checks."""
    stamp = str(sent_at_seconds)
    key = b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = b".".join((delivery_id.encode(), stamp.encode(), body))
    standard = b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {
        "X-Webhook-Signature": hmac.digest(secret.encode(), body, "sha256").hex(),
        "webhook-id": delivery_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{standard}",
    }

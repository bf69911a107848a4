"""An AWS that checks signatures: SigV4 by hand, after its published description."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


class BadSignatureError(Exception):
    """The signature is not that of the call."""


def check_signature(
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    *,
    secrets: Mapping[str, str],
) -> tuple[str, str, str]:
    """Who signed the call as it arrived, and for which region and service.

    `target` is the path and query off the wire; header names are lower-case. Raises
    BadSignatureError unless it was signed with the secret of the access key that it names.
    """
    given = dict(headers)
    found = _AUTHORIZATION.fullmatch(given.get("authorization", ""))
    if found is None:
        raise BadSignatureError("no signature")
    key_id, day, region, service, names, signature = found.groups()
    signed = names.split(";")
    if not {"host", "x-amz-date"} <= set(signed):
        raise BadSignatureError("host and date must be signed")
    if any(name.startswith("x-amz-") and name not in signed for name in given):
        raise BadSignatureError("a header of AWS's own is not signed")
    path, _, query = target.partition("?")
    canonical = "\n".join(
        (
            method,
            # What is on the wire is encoded once; it is signed encoded twice.
            quote(path, safe="/-_.~"),
            "&".join(sorted(pair if "=" in pair else pair + "=" for pair in query.split("&")))
            if query
            else "",
            *(f"{name}:{' '.join(given[name].split())}" for name in signed),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(
        (
            "AWS4-HMAC-SHA256",
            given["x-amz-date"],
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = b"AWS4" + secrets[key_id].encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature):
        raise BadSignatureError("the signature does not match")
    return key_id, region, service

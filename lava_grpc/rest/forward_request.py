"""A call to `/v1/forward` as a ForwardRequest: target, headers, labels, body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.strict_json import BadJsonError, read_object
from lava_grpc.core.errors import invalid
from lava_grpc.rest.http import Incoming, RawHeaders
from lava_grpc.rest.target import Target
from lava_grpc.rest.transcode import IDEMPOTENCY_HEADER

HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers of one connection (RFC 9110, section 7.6.1), which never pass through."""

_DROPPED = HOP_BY_HOP | {
    # This server's own, or made anew for the provider.
    "content-length",
    "cookie",
    "expect",
    "host",
    # Places of our credential.
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "xi-api-key",
    # What proxies in front of us say of the client: no business of a provider.
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
}
_LAVA = "x-lava-"
_METADATA = "x-lava-metadata"
_HOLD_POLICY = "x-lava-hold-policy"
_CLAMP_OUTPUT = "x-lava-clamp-output"
_HOLD_POLICIES = {
    "upper_bound": pb.HOLD_POLICY_UPPER_BOUND,
    "expected": pb.HOLD_POLICY_EXPECTED,
}
_NAME_SHOWN_MAX = 80


def forward_request(request: Incoming, target: Target, body: bytes) -> pb.ForwardRequest:
    """The call as the gateway takes it. Who pays is in the credential, not here.

    An `Idempotency-Key` becomes the request id, and goes on to the provider.
    `X-Lava-Hold-Policy` and `X-Lava-Clamp-Output` are fields of ForwardRequest.
    Raises INVALID_FIELD for `metadata`, `hold_policy` and `clamp_output`.
    """
    return pb.ForwardRequest(
        url=target.url,
        method=request.method,
        headers=_passed_on(request.raw_headers, request.headers.get("connection", "")),
        body=body,
        request_id=request.headers.get(IDEMPOTENCY_HEADER) or None,
        metadata=_metadata(target.ours, request.raw_headers),
        hold_policy=_hold_policy(request.headers),
        clamp_output=_clamp_output(request.headers),
    )


def _passed_on(headers: RawHeaders, connection: str) -> Iterable[pb.Header]:
    named = {token.strip().lower() for token in connection.split(",")}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name not in _DROPPED and not name.startswith(_LAVA) and name not in named:
            yield pb.Header(name=name, value=raw_value.decode("latin-1"))


def _hold_policy(headers: Mapping[str, str]) -> pb.HoldPolicy.ValueType:
    text = headers.get(_HOLD_POLICY)
    if text is None:
        return pb.HOLD_POLICY_UNSPECIFIED
    policy = _HOLD_POLICIES.get(text.strip().lower())
    if policy is None:
        raise invalid("hold_policy", "must be upper_bound or expected")
    return policy


def _clamp_output(headers: Mapping[str, str]) -> bool:
    text = headers.get(_CLAMP_OUTPUT, "false").strip().lower()
    if text not in ("true", "false"):
        raise invalid("clamp_output", "must be true or false")
    return text == "true"


def _metadata(ours: Mapping[str, str], headers: RawHeaders) -> dict[str, str]:
    """Labels from all three places; of one key the later place counts.

    1. the query parameter `metadata`, a JSON object;
    2. the header `x-lava-metadata`, the same;
    3. headers `X-Lava-Metadata-<Key>`, the key in lower case, `-` as `_`.
    """
    found: dict[str, str] = {}
    if text := ours.get("metadata", ""):
        found |= _labels(text.encode(errors="replace"))
    singles: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name == _METADATA:
            found |= _labels(raw_value)
        elif name.startswith(f"{_METADATA}-"):
            key = name.removeprefix(f"{_METADATA}-").replace("-", "_")
            singles[key] = raw_value.decode(errors="replace")
    return found | singles


def _labels(raw: bytes) -> dict[str, str]:
    try:
        fields = read_object(raw)
    except BadJsonError as why:
        raise invalid("metadata", str(why)) from None
    labels: dict[str, str] = {}
    for key, value in fields.items():
        if not isinstance(value, str):
            raise invalid(f"metadata.{key[:_NAME_SHOWN_MAX]}", "must be a string")
        if not (_encodes(key) and _encodes(value)):
            raise invalid("metadata", "must be valid Unicode")
        labels[key] = value
    return labels


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

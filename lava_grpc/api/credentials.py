"""What a caller authenticates with, wherever it arrived. Parsing only: nothing is looked up."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from lava_grpc.api.strict_json import BadJsonError, Json, read_object
from lava_grpc.core.errors import Reason, Refusal, invalid
from lava_grpc.core.hold_policy import HoldPolicy

CREDENTIAL_CHARS_MAX = 8 * 1024
"""The longest credential that is looked at."""

ID_CHARS_MAX = 255
"""The longest customer id or meter slug in a forward token."""

_SECRET_KEY = re.compile(r"aks_(?:live|test)_[A-Za-z0-9_-]{1,256}")
_SPEND_KEY = re.compile(r"lava_sk_[A-Za-z0-9_-]{1,256}")
_TEXT_FIELDS = ("secret_key", "customer_id", "meter_slug", "provider_key")
# The name that Lava's mid generation gave to `customer_id`, with the same value.
_CUSTOMER_ID_ONCE = "connection_id"
# Ours, which Lava's own service does not know.
_HOLD_POLICY = "hold_policy"
_FLAGS = ("disable_billing", "clamp_output")
_FIELDS = frozenset((*_TEXT_FIELDS, _CUSTOMER_ID_ONCE, _HOLD_POLICY, *_FLAGS))
_HEADERS = ("x-api-key", "x-goog-api-key", "xi-api-key")


@dataclass(frozen=True, slots=True, repr=False)
class SecretText:
    """A text that shows itself only when asked to: not in logs, errors or debuggers."""

    _text: str

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    @override
    def __repr__(self) -> str:
        return "SecretText(...)"


class CredentialKind(StrEnum):
    """Whose key it is."""

    SECRET_KEY = "secret_key"  # noqa: S105 - the name of a kind, not a secret
    SPEND_KEY = "spend_key"


@dataclass(frozen=True, slots=True)
class Credential:
    """A key, and what a forward token says beside it.

    `secret_key` holds the spend key where `kind` says so. `customer_id` never
    comes without `meter_slug`.
    """

    kind: CredentialKind
    secret_key: SecretText
    customer_id: str | None = None
    meter_slug: str | None = None
    provider_key: SecretText | None = None
    disable_billing: bool = False
    hold_policy: HoldPolicy | None = None
    clamp_output: bool = False

    @property
    def test_mode(self) -> bool:
        """Whether the key is one of the sandbox."""
        return self.secret_key.reveal().startswith("aks_test_")


def find_credential(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The credential in a request's headers (lower-case names) or its query; None without one.

    The first place that holds one wins: `Authorization: Bearer`, `x-api-key`,
    `x-goog-api-key`, `xi-api-key`, then the query parameter `key`. An
    `Authorization` of another scheme counts as absent.
    """
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and (found := token.strip()):
        return found
    for name in _HEADERS:
        if found := headers.get(name, "").strip():
            return found
    return query.get("key", "").strip() or None


def parse_credential(text: str) -> Credential:
    """A secret key, a spend key, or else a forward token (base64 of a JSON object).

    Raises INVALID_CREDENTIALS for what is none of them. A field that is
    unknown, empty or of another type makes a token malformed: each may say who
    pays, so none is guessed at or passed over. A customer without a meter is
    INVALID_FIELD, naming `meter_slug`.
    """
    bare = text.strip()
    if not bare:
        raise _malformed("a credential is required")
    if len(bare) > CREDENTIAL_CHARS_MAX:
        raise _malformed(f"a credential has at most {CREDENTIAL_CHARS_MAX} characters")
    if bare.startswith("aks_"):
        return Credential(CredentialKind.SECRET_KEY, _key(bare, _SECRET_KEY, "secret key"))
    if bare.startswith("lava_sk_"):
        return Credential(CredentialKind.SPEND_KEY, _key(bare, _SPEND_KEY, "spend key"))
    return _from_token(bare)


def _from_token(text: str) -> Credential:
    fields = _token_fields(text)
    if fields.keys() - _FIELDS:
        known = ", ".join((*_TEXT_FIELDS, _HOLD_POLICY, *_FLAGS))
        raise _malformed(f"the forward token has a field other than {known}")
    texts = {name: _text(fields, name) for name in (*_TEXT_FIELDS, _CUSTOMER_ID_ONCE)}
    secret_key, provider_key = texts["secret_key"], texts["provider_key"]
    if secret_key is None:
        raise _malformed("the forward token has no secret_key")
    customer_id = _customer_id(texts)
    if customer_id is not None and texts["meter_slug"] is None:
        raise invalid("meter_slug", "is required in a forward token with a customer_id")
    return Credential(
        CredentialKind.SECRET_KEY,
        _key(secret_key, _SECRET_KEY, "secret key"),
        customer_id=customer_id,
        meter_slug=_bounded("meter_slug", texts["meter_slug"]),
        provider_key=None if provider_key is None else _provider_key(provider_key),
        disable_billing=_flag(fields, "disable_billing"),
        hold_policy=_hold_policy(fields),
        clamp_output=_flag(fields, "clamp_output"),
    )


def _token_fields(text: str) -> dict[str, Json]:
    # Shells wrap base64 at 76 columns, and some clients drop the padding.
    packed = "".join(text.split()).rstrip("=")
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(
            "the credential is neither a secret key, a spend key nor a forward token"
        ) from None
    try:
        return read_object(raw)
    except BadJsonError:
        # Not its message: a key of the token may be quoted there.
        raise _malformed("the forward token does not hold one JSON object") from None


def _customer_id(texts: Mapping[str, str | None]) -> str | None:
    customer_id, once = texts["customer_id"], texts[_CUSTOMER_ID_ONCE]
    if customer_id is not None and once not in (None, customer_id):
        raise _malformed("the forward token names two customers")
    return _bounded("customer_id", customer_id if customer_id is not None else once)


def _text(fields: Mapping[str, Json], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise _malformed(f"the forward token's {name} must be a text that is not empty, or null")
    return value


def _hold_policy(fields: Mapping[str, Json]) -> HoldPolicy | None:
    value = fields.get(_HOLD_POLICY)
    if value is None:
        return None
    for policy in HoldPolicy:
        if policy.value == value:
            return policy
    raise _malformed("the forward token's hold_policy must be upper_bound, expected or null")


def _flag(fields: Mapping[str, Json], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _malformed(f"the forward token's {name} must be true, false or null")
    return bool(value)


def _bounded(name: str, value: str | None) -> str | None:
    if value is not None and (len(value) > ID_CHARS_MAX or not value.isprintable()):
        raise _malformed(
            f"the forward token's {name} must be 1 to {ID_CHARS_MAX} printable characters"
        )
    return value


def _provider_key(value: str) -> SecretText:
    # It becomes a header of the call to the provider: no spaces, no line ends. AWS access
    # keys may come as a JSON object, which is signed with and never sent.
    is_json = value.startswith("{")
    if not (value.isascii() and value.isprintable()) or (" " in value and not is_json):
        raise _malformed("the forward token's provider_key must be printable ASCII without spaces")
    return SecretText(value)


def _key(value: str, shape: re.Pattern[str], name: str) -> SecretText:
    if shape.fullmatch(value) is None:
        raise _malformed(f"the {name} is malformed")
    return SecretText(value)


def _malformed(why: str) -> Refusal:
    return Refusal(Reason.INVALID_CREDENTIALS, why)

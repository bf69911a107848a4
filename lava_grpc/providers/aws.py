"""Credentials for AWS, and what a host of Bedrock's says of region and service.

Nothing is signed here: see `gateway/signing.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache

_HOSTS = (
    (re.compile(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com", re.ASCII), "bedrock"),
    # A service of its own, with a signing name of its own.
    (re.compile(r"bedrock-mantle\.([a-z0-9-]+)\.api\.aws", re.ASCII), "bedrock-mantle"),
)
_FIELDS = frozenset(("access_key_id", "secret_access_key", "session_token", "region"))
_ACCESS_KEY = r"A(?:KIA|SIA)[A-Z0-9]{12,124}"
_COLONS = re.compile(rf"({_ACCESS_KEY}):([A-Za-z0-9/+=]{{16,256}})(?::(\S+))?", re.ASCII)
_TEXT = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AwsCredential:
    """An access key. `region` is what its owner named; a call's region is its host's."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None


@dataclass(frozen=True, slots=True)
class SigningScope:
    """What a signature is good for."""

    region: str
    service: str


def read_credential(secret: str) -> AwsCredential | None:
    """The access key that a secret spells; None for what is a bearer token (a Bedrock API key).

    It is a JSON object (`access_key_id`, `secret_access_key`, and perhaps
    `session_token` and `region`), or `AKIA...:secret`, with `:token` behind it for a
    session. Raises ValueError, which says what is wrong and nothing of the secret.
    """
    if secret.lstrip().startswith("{"):
        return _from_json(secret)
    found = _COLONS.fullmatch(secret)
    if found is not None:
        return AwsCredential(found[1], found[2], found[3])
    if re.match(_ACCESS_KEY + "(?::|$)", secret):
        raise ValueError("must be access_key_id:secret_access_key, and perhaps :session_token")
    return None


def is_access_key(secret: str) -> bool:
    """Whether a secret spells an access key, well or badly: one that no header may carry."""
    return secret.lstrip().startswith("{") or re.match(_ACCESS_KEY + ":", secret) is not None


@lru_cache(maxsize=64)
def signing_scope(host: str) -> SigningScope | None:
    """Region and service of a host that takes signatures; None for a stranger."""
    for pattern, service in _HOSTS:
        if found := pattern.fullmatch(host):
            return SigningScope(found[1], service)
    return None


def _from_json(secret: str) -> AwsCredential:
    try:
        fields = json.loads(secret)
    except (ValueError, RecursionError):
        raise ValueError("must be a JSON object") from None
    if not isinstance(fields, dict) or fields.keys() - _FIELDS:
        raise ValueError(f"must have no field other than {', '.join(sorted(_FIELDS))}")
    given = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if not isinstance(value, str) or _TEXT.fullmatch(value) is None:
            raise ValueError(f"must have a text for {name}, without spaces")
    missing = {"access_key_id", "secret_access_key"} - given.keys()
    if missing:
        raise ValueError(f"must have {' and '.join(sorted(missing))}")
    return AwsCredential(**given)

"""Secrets at rest: AES-256-GCM, under keys that the operator holds.

The first key encrypts; every key decrypts. What a secret belongs to is bound to
its ciphertext, so that one that was moved to another row does not decrypt.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import override

from lava_grpc.core.errors import Reason, Refusal

SETTING = "LAVA_KEY_ENCRYPTION_KEYS"
"""The operator's setting that holds the keys."""

KEY_BYTES = 32
"""The length of an encryption key."""

KEYS_MAX = 16
"""The most encryption keys: the newest, and those that rows may still be under."""

_NONCE_BYTES = 12
_NAME_CHARS = 16


class UnreadableError(Exception):
    """A secret that no key decrypts: its key is gone, or it was tampered with or moved."""


class Vault:
    """Seals secrets and opens them. Its keys show nowhere."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`, newest first, of KEY_BYTES each. Without any, nothing is sealed or opened."""
        self._ciphers = {key_name(key): AESGCM(key) for key in keys}
        self._newest = key_name(keys[0]) if keys else None

    @property
    def newest(self) -> str:
        """The name of the key that encrypts. Refuses NOT_IMPLEMENTED where there is none."""
        if self._newest is None:
            raise Refusal(
                Reason.NOT_IMPLEMENTED,
                "provider keys cannot be stored: the service has no encryption key "
                f"({SETTING} is not set)",
                facts={"setting": SETTING},
            )
        return self._newest

    @override
    def __repr__(self) -> str:
        return f"Vault({', '.join(self._ciphers)})"

    def seal(self, secret: str, *belongs: str) -> str:
        """The secret encrypted under the newest key, as text. `belongs` says whose it is.

        Refuses as `newest` does.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self.newest].encrypt(nonce, secret.encode(), _bound(belongs))
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, sealed_with: str, *belongs: str) -> str:
        """The secret that was sealed for just this owner; raises UnreadableError."""
        cipher = self._ciphers.get(sealed_with)
        if cipher is None:
            raise UnreadableError
        try:
            raw = base64.b64decode(sealed, validate=True)
            opened = cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(belongs))
        except (InvalidTag, ValueError):
            raise UnreadableError from None
        return opened.decode()


def read_key(text: str) -> bytes:
    """An encryption key out of base64, standard or for URLs; raises ValueError."""
    try:
        key = base64.b64decode(text.strip().translate(_STANDARD), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"must be {KEY_BYTES} bytes in base64, as `openssl rand -base64 32` makes")
    return key


def key_name(key: bytes) -> str:
    """What rows call a key by: it says nothing of the key itself."""
    return sha256(b"lava provider keys" + key).hexdigest()[:_NAME_CHARS]


_STANDARD = str.maketrans("-_", "+/")


def _bound(belongs: Sequence[str]) -> bytes:
    # Lengths go first, so that no two owners are spelled alike.
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in belongs)

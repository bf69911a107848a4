"""Secrets at rest: only their own row and a key that is still held open them."""

from __future__ import annotations

import base64

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.gateway.vault import UnreadableError, Vault, read_key

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = "sk-ant-api03-an-example-of-a-secret"
OWNER = ("mer_1", "openai", "pvk_1")


def test_what_was_sealed_is_opened_for_its_owner() -> None:
    vault = Vault([NEW])
    sealed = vault.seal(SECRET, *OWNER)
    assert vault.open(sealed, vault.newest, *OWNER) == SECRET
    assert SECRET not in sealed
    assert SECRET.encode() not in base64.b64decode(sealed)
    # Sealed twice it looks different: equal secrets do not show.
    assert vault.seal(SECRET, *OWNER) != sealed


@pytest.mark.parametrize(
    "owner",
    [
        ("mer_2", "openai", "pvk_1"),
        ("mer_1", "anthropic", "pvk_1"),
        ("mer_1", "openai", "pvk_2"),
        ("mer_1o", "penai", "pvk_1"),
        ("mer_1", "openaipvk_1"),
    ],
)
def test_it_opens_for_no_other_owner(owner: tuple[str, ...]) -> None:
    vault = Vault([NEW])
    with pytest.raises(UnreadableError):
        vault.open(vault.seal(SECRET, *OWNER), vault.newest, *owner)


def test_an_older_key_still_opens_and_the_newest_seals() -> None:
    before = Vault([OLD])
    sealed = before.seal(SECRET, *OWNER)
    both = Vault([NEW, OLD])
    assert both.newest == Vault([NEW]).newest != before.newest
    assert both.open(sealed, before.newest, *OWNER) == SECRET
    with pytest.raises(UnreadableError):
        Vault([NEW]).open(sealed, before.newest, *OWNER)
    with pytest.raises(UnreadableError):
        both.open(sealed, both.newest, *OWNER)


@pytest.mark.parametrize("position", [0, 11, 12, 30, -1])
def test_a_changed_bit_is_noticed(position: int) -> None:
    vault = Vault([NEW])
    raw = bytearray(base64.b64decode(vault.seal(SECRET, *OWNER)))
    raw[position] ^= 1
    with pytest.raises(UnreadableError):
        vault.open(base64.b64encode(raw).decode(), vault.newest, *OWNER)


@pytest.mark.parametrize("sealed", ["", "AAAA", "no base64"])
def test_what_is_no_ciphertext_is_unreadable(sealed: str) -> None:
    vault = Vault([NEW])
    with pytest.raises(UnreadableError):
        vault.open(sealed, vault.newest, *OWNER)


def test_without_a_key_nothing_is_sealed_and_the_setting_is_named() -> None:
    with pytest.raises(Refusal) as refused:
        Vault([]).seal(SECRET, *OWNER)
    assert refused.value.reason is Reason.NOT_IMPLEMENTED
    assert refused.value.facts == {"setting": "LAVA_KEY_ENCRYPTION_KEYS"}
    with pytest.raises(UnreadableError):
        Vault([]).open("x", "y", *OWNER)


def test_keys_show_nowhere() -> None:
    shown = repr(Vault([NEW, OLD]))
    assert "nnnn" not in shown
    assert "oooo" not in shown


@pytest.mark.parametrize("raw", [bytes(32), bytes(range(32)), b"\xfb\xff\xfe" * 10 + b"ab"])
def test_keys_are_read_from_base64_of_both_alphabets(raw: bytes) -> None:
    assert read_key(base64.b64encode(raw).decode()) == raw
    assert read_key(base64.urlsafe_b64encode(raw).decode()) == raw


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(bytes(31)).decode(), "?" * 44])
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes in base64") as refused:
        read_key(text)
    assert not text or text not in str(refused.value)

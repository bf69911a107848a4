"""Settings: where they come from, what is refused, and what is never shown."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from lava_grpc import config
from lava_grpc.config import ConfigError, HostFamily, OnGone, load

SECRET = "sk-hidden"
AWS_SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
ENCRYPTION_KEY = base64.b64encode(b"n" * 32).decode()


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(config.PREFIX):
            monkeypatch.delenv(name)


def refused(**flags: Any) -> str:
    with pytest.raises(ConfigError) as error:
        load(flags)
    for secret in (SECRET, ENCRYPTION_KEY):
        assert secret not in str(error.value)
        assert secret not in repr(error.value)
    return str(error.value)


def test_every_setting_has_a_default() -> None:
    settings = load()
    assert settings.database_url == "sqlite:///lava.db"
    assert settings.grpc_address == "127.0.0.1:50051"
    assert settings.on_gone is OnGone.DRAIN


def test_a_flag_wins_over_the_environment_and_it_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lava.toml"
    file.write_text(
        "drain_seconds = 1\nidle_seconds = 1\nqueue_commands_max = 1\n", encoding="utf-8"
    )
    monkeypatch.setenv("LAVA_DRAIN_SECONDS", "2")
    monkeypatch.setenv("LAVA_IDLE_SECONDS", "2")
    settings = load({"drain_seconds": 3, "connect_seconds": None}, file=file)
    assert settings.drain_seconds == 3
    assert settings.idle_seconds == 2
    assert settings.queue_commands_max == 1
    assert settings.connect_seconds == 10


def test_tables_of_the_file_and_json_of_the_environment_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lava.toml"
    file.write_text(
        """
        allowed_hosts = ["API.example.com", "other.example:8443"]
        [provider_keys]
        openai = "sk-1"
        [upstream_map]
        "api.openai.com" = "http://127.0.0.1:1/openai"
        [compatible_hosts."llm.example"]
        family = "anthropic"
        """,
        encoding="utf-8",
    )
    from_file = load(file=file)
    monkeypatch.setenv("LAVA_ALLOWED_HOSTS", "api.example.com, other.example:8443,")
    monkeypatch.setenv("LAVA_PROVIDER_KEYS", '{"openai": "sk-1"}')
    monkeypatch.setenv("LAVA_UPSTREAM_MAP", '{"API.openai.com": "http://127.0.0.1:1/openai"}')
    monkeypatch.setenv("LAVA_COMPATIBLE_HOSTS", '{"llm.example": {"family": "anthropic"}}')
    from_environment = load()
    assert from_environment.model_dump() == from_file.model_dump()
    assert from_file.allowed_hosts == {"api.example.com", "other.example:8443"}
    assert from_file.compatible_hosts["llm.example"].family is HostFamily.ANTHROPIC
    assert from_file.provider_keys["openai"] == SecretStr("sk-1")


def test_secrets_are_not_in_its_text() -> None:
    settings = load(
        {
            "provider_keys": {
                "openai": SECRET,
                "bedrock": {
                    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
                    "secret_access_key": AWS_SECRET,
                },
                "groq": [{"key": SECRET}, {"key": SECRET, "weight": 2}],
            },
            "key_encryption_keys": ENCRYPTION_KEY,
            "database_url": f"postgresql://ada:{SECRET}@host/lava",
        }
    )
    for secret in (SECRET, AWS_SECRET, ENCRYPTION_KEY):
        assert secret not in repr(settings)
        assert secret not in str(settings)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("database_url", f"mysql://ada:{SECRET}@host/lava"),
        ("database_url", ""),
        ("grpc_address", "localhost"),
        ("grpc_address", "localhost:65536"),
        ("http_address", ":8080"),
        ("provider_keys", f'{{"openai": "{SECRET}"'),
        ("provider_keys", {"openai": [SECRET]}),
        ("provider_keys", f'["{SECRET}"]'),
        ("provider_keys", {"openai": []}),
        ("provider_keys", {"openai": [{"key": SECRET, "weight": 0}]}),
        ("provider_keys", {"openai": [{"key": SECRET, "wait": 1}]}),
        ("provider_keys", {"openai": [{"weight": 1}]}),
        ("provider_keys", {"openai": 7}),
        ("provider_keys", {"bedrock": {"access_key_id": SECRET}}),
        ("provider_keys", {"bedrock": {"secret_access_key": SECRET * 2, "key": SECRET}}),
        ("key_encryption_keys", SECRET),
        ("key_encryption_keys", f"{ENCRYPTION_KEY},{SECRET}"),
        ("key_encryption_keys", [ENCRYPTION_KEY] * 17),
        ("upstream_map", {"api.openai.com": "ftp://host/"}),
        ("upstream_map", {"api.openai.com": "https://host/?key=sk-hidden"}),
        ("allowed_hosts", "https://host/"),
        ("allowed_hosts", "*.example.com"),
        ("compatible_hosts", {"host": {"family": "telex"}}),
        ("compatible_hosts", {"host": {"famly": "openai"}}),
        ("on_gone", "wait"),
        ("on_abandoned", "forget"),
        ("hold_policy", "small"),
        ("drain_seconds", 0),
        ("drain_seconds", "soon"),
        ("body_bytes_max", 1),
        ("queue_commands_max", 0),
        ("database_prepare", "sometimes"),
        ("log_level", "loud"),
    ],
)
def test_what_is_wrong_is_named(setting: str, value: object) -> None:
    text = refused(**{setting: value})
    assert f"LAVA_{setting.upper()}: " in text


def test_everything_that_is_wrong_is_named_at_once() -> None:
    text = refused(grpc_address="x", log_level="loud")
    assert "LAVA_GRPC_ADDRESS" in text
    assert "LAVA_LOG_LEVEL" in text


def test_the_place_within_a_setting_is_named_as_it_was_written() -> None:
    text = refused(compatible_hosts={"Host.example": {"family": "telex"}})
    assert "LAVA_COMPATIBLE_HOSTS: Host.example: family: " in text


def test_an_empty_http_address_serves_no_rest() -> None:
    assert load({"http_address": ""}).http_address == ""


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_through_psycopg(scheme: str) -> None:
    settings = load({"database_url": f"{scheme}://ada@host/lava"})
    assert settings.database_url == "postgresql+psycopg://ada@host/lava"


def test_tls_files_come_together() -> None:
    assert "LAVA_TLS_KEY" in refused(tls_certificate="cert.pem")
    assert "LAVA_TLS_CERTIFICATE" in refused(tls_key="key.pem")
    assert "LAVA_TLS_CLIENT_CA" in refused(tls_client_ca="ca.pem")
    pair = {"tls_certificate": "cert.pem", "tls_key": "key.pem"}
    assert load({**pair, "tls_client_ca": "ca.pem"}).tls_key == Path("key.pem")


def test_a_file_is_there_and_is_toml_and_has_known_settings(tmp_path: Path) -> None:
    file = tmp_path / "lava.toml"
    with pytest.raises(ConfigError, match=r"LAVA_CONFIG_FILE: .* is not a file"):
        load(file=file)
    file.write_text("grpc_address = [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"LAVA_CONFIG_FILE: .*lava\.toml"):
        load(file=file)
    file.write_text('grpc_addres = "127.0.0.1:1"', encoding="utf-8")
    with pytest.raises(ConfigError, match="LAVA_GRPC_ADDRES: "):
        load(file=file)

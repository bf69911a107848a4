"""Hosts are compared whole; keys go where a provider wants them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.providers.provider import Quirk
from lava_grpc.providers.registry import (
    AuthStyle,
    CompatibleHost,
    Family,
    Registry,
    auth_headers,
    auth_query,
    read_call,
)
from tests.unit.providers.steady import steady

REGISTRY = Registry()


def _id(host: str) -> str | None:
    found = REGISTRY.by_host(host)
    return found.id if found else None


@pytest.mark.parametrize(
    ("host", "ident"),
    [
        ("api.openai.com", "openai"),
        ("API.OpenAI.com", "openai"),
        ("openrouter.ai", "openrouter"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock"),
        ("europe-west4-aiplatform.googleapis.com", "google-vertex"),
        ("my-team.openai.azure.com", "azure"),
        ("org-account.snowflakecomputing.com", "snowflake"),
        ("a.privatelink.snowflakecomputing.com", "snowflake"),
    ],
)
def test_a_provider_is_known_by_its_host(host: str, ident: str) -> None:
    assert _id(host) == ident


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com.evil.example",
        "evil-api.openai.com",
        "evil.example/api.openai.com",
        "api.openai.com@evil.example",
        "api.openai.com:443",
        "api.openai.com.",
        " api.openai.com",
        "apixopenai.com",
        "api.openai.com\n",
        "x.openai.azure.com.evil.example",
        "a.b.openai.azure.com",
        "openai.azure.com",
        "-.openai.azure.com",
        "bedrock-runtime.evil.example.amazonaws.com",
        "bedrock-runtime.us-east-1.amazonaws.com.evil.example",
        "bedrock-runtime.us-east-1\n.amazonaws.com",
        "evil.example#.snowflakecomputing.com",
        "аpi.openai.com",  # noqa: RUF001 - a Cyrillic a
        "",
    ],
)
def test_a_stranger_is_never_taken_for_a_provider(host: str) -> None:
    assert _id(host) is None


@steady
@given(st.text(max_size=12), st.sampled_from([host for p in REGISTRY.all() for host in p.hosts]))
def test_nothing_can_be_added_to_a_host(extra: str, host: str) -> None:
    for changed in (extra + host, host + extra):
        found = REGISTRY.by_host(changed)
        if found is not None:
            names = found.hosts + found.host_patterns
            assert changed.lower() in found.hosts or any("*" in name for name in names)
    suffixed = REGISTRY.by_host(f"{host}.evil.example")
    assert suffixed is None


def test_ids_and_hosts_are_each_one_providers() -> None:
    ids = [provider.id for provider in REGISTRY.all()]
    hosts = [host for provider in REGISTRY.all() for host in provider.hosts]
    assert len(ids) == len(set(ids))
    assert len(hosts) == len(set(hosts))
    assert all(host == host.lower() for host in hosts)


def test_a_base_url_is_at_a_host_of_its_provider() -> None:
    for provider in REGISTRY.all():
        scheme, _, rest = provider.base_url.partition("://")
        assert scheme == "https"
        host = rest.partition("/")[0]
        assert REGISTRY.by_host(host) is provider


def test_an_added_host_wins_over_a_built_in_one() -> None:
    rule = CompatibleHost(family=Family.ANTHROPIC, price_provider="anthropic")
    more = REGISTRY.with_hosts({"LLM.internal": rule, "api.openai.com": Family.GENERIC})
    added = more.by_host("llm.internal")
    assert added is not None
    assert (added.auth, added.price_provider) == (AuthStyle.X_API_KEY, "anthropic")
    generic = more.by_host("api.openai.com")
    assert generic is not None
    assert generic.family is Family.GENERIC
    assert _id("llm.internal") is None


def test_a_family_that_needs_more_than_a_host_cannot_be_added() -> None:
    with pytest.raises(ValueError, match="h: family must be one of"):
        REGISTRY.with_hosts({"h": Family.BEDROCK})


def test_a_key_goes_where_the_provider_wants_it() -> None:
    def headers(ident: str) -> dict[str, str]:
        found = REGISTRY.by_id(ident)
        assert found is not None
        assert auth_query(found, "k") == {}
        return auth_headers(found, "k")

    assert headers("openai") == {"authorization": "Bearer k"}
    assert headers("anthropic") == {"x-api-key": "k"}
    assert headers("google") == {"x-goog-api-key": "k"}
    assert headers("azure") == {"api-key": "k"}
    assert headers("elevenlabs") == {"xi-api-key": "k"}
    assert headers("deepgram") == {"authorization": "Token k"}
    assert headers("assemblyai") == {"authorization": "k"}
    assert headers("bedrock") == {"authorization": "Bearer k"}


def test_googles_compatible_endpoint_takes_a_bearer_key() -> None:
    google = REGISTRY.by_id("google")
    assert google is not None
    url = "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"
    call = read_call(google, "POST", url, {}, b"{}")
    assert auth_headers(google, "k", call) == {"authorization": "Bearer k"}


def test_a_routed_call_has_the_prices_of_the_host_behind() -> None:
    face = REGISTRY.by_host("router.huggingface.co")
    assert face is not None
    assert Quirk.ROUTED_BY_PATH in face.quirks

    def seller(path: str, model: str) -> str | None:
        body = f'{{"model":"{model}"}}'.encode()
        url = f"https://router.huggingface.co{path}"
        return read_call(face, "POST", url, {}, body).price_provider

    assert seller("/nebius/v1/chat/completions", "m") == "huggingface_nebius"
    assert seller("/v1/chat/completions", "org/m:groq") == "huggingface_groq"
    assert seller("/v1/chat/completions", "org/m") is None


@pytest.mark.parametrize(
    ("host", "ident", "auth"),
    [
        ("acme.openai.azure.com", "azure", AuthStyle.API_KEY),
        ("acme.services.ai.azure.com", "azure", AuthStyle.API_KEY),
        ("eu.api.openai.com", "openai", AuthStyle.BEARER),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock", AuthStyle.AWS_SIGV4),
        ("bedrock-mantle.us-east-1.api.aws", "bedrock", AuthStyle.AWS_SIGV4),
        ("aiplatform.googleapis.com", "google-vertex", AuthStyle.BEARER),
        ("europe-west1-aiplatform.googleapis.com", "google-vertex", AuthStyle.BEARER),
        ("openrouter.ai", "openrouter", AuthStyle.BEARER),
        ("api.perplexity.ai", "perplexity", AuthStyle.BEARER),
        ("router.huggingface.co", "huggingface", AuthStyle.BEARER),
        ("api.cloudflare.com", "cloudflare", AuthStyle.BEARER),
        ("gateway.ai.cloudflare.com", "cloudflare-gateway", AuthStyle.BEARER),
        ("models.github.ai", "github", AuthStyle.BEARER),
        ("acme.cloud.databricks.com", "databricks", AuthStyle.BEARER),
        ("oai.endpoints.kepler.ai.cloud.ovh.net", "ovhcloud", AuthStyle.BEARER),
        ("api.minimax.io", "minimax", AuthStyle.BEARER),
        ("api.z.ai", "zai", AuthStyle.BEARER),
        ("open.bigmodel.cn", "zhipuai", AuthStyle.BEARER),
        ("api.voyageai.com", "voyageai", AuthStyle.BEARER),
        ("api.deepgram.com", "deepgram", AuthStyle.TOKEN),
        ("api.assemblyai.com", "assemblyai", AuthStyle.RAW),
        ("api.replicate.com", "replicate", AuthStyle.BEARER),
        ("api.stability.ai", "stability", AuthStyle.BEARER),
        ("api.dev.runwayml.com", "runway", AuthStyle.BEARER),
        ("api.elevenlabs.io", "elevenlabs", AuthStyle.XI_API_KEY),
    ],
)
def test_a_host_is_its_providers_and_takes_the_key_in_its_way(
    host: str, ident: str, auth: AuthStyle
) -> None:
    found = Registry().by_host(host)
    assert found is not None
    assert (found.id, found.auth) == (ident, auth)


def test_regions_are_the_providers_and_accounts_are_not() -> None:
    registry = Registry()
    for host, own in (
        ("europe-west1-aiplatform.googleapis.com", False),
        ("bedrock-runtime.eu-west-1.amazonaws.com", False),
        ("acme.openai.azure.com", True),
        ("acme.cloud.databricks.com", True),
        ("api.openai.com", False),
    ):
        found = registry.by_host(host)
        assert found is not None
        assert found.per_account(host) is own

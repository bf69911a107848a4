"""Bad calls of the provider key service."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from lava.v1 import provider_key_service_pb2 as keys

from lava_grpc.core.errors import Reason
from tests.contract.case import BAD, LONG, MISSING, Case

_ID = "provider_key_id"
_NOBODY = "pvk_test_01ARZ3NDEKTSV4RRFFQ69G5FAV"
_KEY = "sk-0123456789abcdef"
_AWS = "AKIAIOSFODNN7EXAMPLE"


def provider_keys() -> list[Case]:
    """Every way to be refused."""
    service = "ProviderKeyService"
    create, update = keys.CreateProviderKeyRequest, keys.UpdateProviderKeyRequest
    good = create(name="n", provider="openai", key=_KEY)
    creates = (
        (create(provider="openai", key=_KEY), "name"),
        (create(name=LONG, provider="openai", key=_KEY), "name"),
        (create(name="n", key=_KEY), "provider"),
        (create(name="n", provider="nobody", key=_KEY), "provider"),
        (create(name="n", provider="OpenAI", key=_KEY), "provider"),
        (create(name="n", provider="api.openai.com.evil.example", key=_KEY), "provider"),
        # Each account has a host of its own there.
        (create(name="n", provider="azure", key=_KEY), "provider"),
        (create(name="n", provider="openai"), "key"),
        (create(name="n", provider="openai", key="short"), "key"),
        (create(name="n", provider="openai", key="k" * 8193), "key"),
        (create(name="n", provider="openai", key=_KEY + "\r\nx: y"), "key"),
        (create(name="n", provider="openai", key="Bearer " + _KEY), "key"),
        (create(name="n", provider="openai", key=_KEY + "é"), "key"),
        (create(name="n", provider="google-vertex", key='{"type": "service_account"}'), "key"),
        (create(name="n", provider="bedrock", key='{"access_key_id": "a"}'), "key"),
        (create(name="n", provider="bedrock", key=f"{_AWS}:short"), "key"),
        (create(name="n", provider="openai", key=_KEY, weight=0), "weight"),
        (create(name="n", provider="openai", key=_KEY, weight=1001), "weight"),
        (create(name="n", provider="openai", key=_KEY, status=7), "status"),  # type: ignore[arg-type]
    )
    masked = (
        ("key", "update_mask"),
        ("provider", "update_mask"),
        ("name", "name"),
        ("weight", "weight"),
        ("status", "status"),
    )
    lists = keys.ListProviderKeysRequest
    return [
        # The service of these tests has no encryption key.
        Case(f"{service}/CreateProviderKey", good, Reason.NOT_IMPLEMENTED),
        *(Case(f"{service}/CreateProviderKey", request, BAD, field) for request, field in creates),
        *(
            Case(
                f"{service}/UpdateProviderKey",
                update(provider_key_id=_NOBODY, update_mask=FieldMask(paths=[name])),
                BAD,
                field,
            )
            for name, field in masked
        ),
        Case(f"{service}/UpdateProviderKey", update(provider_key_id=_NOBODY, weight=0), BAD),
        Case(f"{service}/ListProviderKeys", lists(limit=101), BAD, "limit"),
        Case(f"{service}/ListProviderKeys", lists(cursor="x"), BAD, "cursor"),
        Case(f"{service}/GetProviderKey", keys.GetProviderKeyRequest(), BAD, _ID),
        *_missing(service),
    ]


def _missing(service: str) -> list[Case]:
    get, rotate = keys.GetProviderKeyRequest, keys.RotateProviderKeyRequest
    named = (
        ("GetProviderKey", get(provider_key_id=_NOBODY)),
        ("GetProviderKey", get(provider_key_id="rich")),
        ("UpdateProviderKey", keys.UpdateProviderKeyRequest(provider_key_id=_NOBODY, name="n")),
        ("RotateProviderKey", rotate(provider_key_id=_NOBODY, key=_KEY)),
        ("DeleteProviderKey", keys.DeleteProviderKeyRequest(provider_key_id=_NOBODY)),
    )
    return [Case(f"{service}/{rpc}", request, MISSING, _ID) for rpc, request in named]

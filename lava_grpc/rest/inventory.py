"""Lava's endpoints, so that those without an RPC say so (501) instead of "no such path"."""

from __future__ import annotations

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest.http import Answer, Incoming
from lava_grpc.rest.router import Params, Router

_RESOURCES = (
    ("customers", "POST GET", "GET PATCH DELETE"),
    ("meters", "POST GET", "GET PATCH DELETE"),
    ("plans", "POST GET", "GET PATCH DELETE"),
    ("subscriptions", "POST GET", "PATCH DELETE"),
    ("credit_bundles", "GET", "GET"),
    ("webhooks", "POST GET", "GET PATCH DELETE"),
    ("secret_keys", "POST GET", "DELETE"),
    ("spend_keys", "POST GET", "GET PUT DELETE"),
    ("requests", "POST GET", "GET"),
)
_OTHERS = (
    ("GET", "/v1/models"),
    ("GET", "/v1/services"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/customers/{id}/subscription"),
    ("POST", "/v1/checkout_sessions"),
    ("POST", "/v1/spend_keys/{id}/rotate"),
    ("GET", "/v1/wallet"),
    ("POST", "/v1/wallet/fund"),
    ("GET", "/v1/payment_methods"),
    ("POST", "/v1/auth/callback"),
)

REWRITE_PATH = "/v1/rewrite/"
"""Format translation; any number of segments follow."""

REWRITE_TEMPLATE = f"{REWRITE_PATH}{{client_format}}/{{url}}"
"""What follows, by name."""


def endpoints() -> tuple[tuple[str, str], ...]:
    """Method and path of every endpoint that Lava documents, save the gateway's own paths."""
    collections = [(m, f"/v1/{name}") for name, methods, _ in _RESOURCES for m in methods.split()]
    members = [
        (m, f"/v1/{name}/{{id}}") for name, _, methods in _RESOURCES for m in methods.split()
    ]
    return (*collections, *members, *_OTHERS)


def add_missing(router: Router) -> None:
    """Add an endpoint that answers 501 for each that the router does not have yet."""
    for method, path in endpoints():
        if not router.has(method, path):
            router.add(method, path, not_implemented)


async def not_implemented(request: Incoming, params: Params) -> Answer:
    """Always refuses."""
    del params
    raise Refusal(
        Reason.NOT_IMPLEMENTED, f"this service does not do {request.method} on this path yet"
    )

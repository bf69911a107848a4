"""What goes wrong, as Lava's error body."""

from __future__ import annotations

from lava_grpc.api.defects import defect as told
from lava_grpc.api.status import http_error
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest.http import Answer, BodyRefused
from lava_grpc.rest.json_writer import dump

REQUEST_ID_HEADER = "x-lava-request-id"
CLAMPED_HEADER = "x-lava-clamped-output-tokens"


def refused(refusal: Refusal) -> Answer:
    """The refusal with its HTTP status; its request id, where it has one, in the header too."""
    status, body, headers = http_error(refusal)
    request_id = refusal.facts.get("request_id", "")
    if request_id.isascii() and request_id.isprintable() and request_id:
        headers[REQUEST_ID_HEADER] = request_id
    if isinstance(refusal, BodyRefused):
        headers["connection"] = "close"
    return Answer(dump(body), status, headers)


def defect(error: Exception) -> Answer:
    """INTERNAL without detail for the client."""
    return refused(told("REST", error))


def unknown_path() -> Answer:
    """No route has this path."""
    return refused(Refusal(Reason.NOT_FOUND, "no such path"))


def wrong_method(allowed: list[str]) -> Answer:
    """The path exists, with other methods. HTTP's own refusal: no RPC has a reason for it."""
    error = {
        "message": f"this path takes {', '.join(allowed)}",
        "code": "method_not_allowed",
        "status": 405,
    }
    return Answer(dump({"error": error}), 405, {"allow": ", ".join(allowed)})

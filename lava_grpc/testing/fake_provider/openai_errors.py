"""OpenAI's errors, and the checks that raise them."""

from __future__ import annotations

import re
from typing import Any

from lava_grpc.testing.fake_provider.answer import Answer, Ask, RefusedError, json_answer

UNKNOWN_MODEL = re.compile(r"unknown|no-such|nonexistent|does-not-exist", re.IGNORECASE)
"""Names that no provider has; every other name is a model."""

_TYPES = {
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    429: "requests",
    500: "server_error",
    503: "server_error",
}


def error(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> Answer:
    """An error in OpenAI's shape."""
    kind = _TYPES.get(status, "invalid_request_error")
    body = {"message": message, "type": kind, "param": param, "code": code}
    return json_answer({"error": body}, status=status)


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> RefusedError:
    """A 400."""
    return RefusedError(error(400, message, param=param, code=code))


def needed(ask: Ask, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The field `name`, which must be there."""
    if name not in ask.body:
        raise bad_request(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    return ask.body[name]


def model_of(ask: Ask) -> str:
    """The request's model, which must exist."""
    model = ask.body.get("model")
    if not isinstance(model, str) or not model:
        raise bad_request("you must provide a model parameter")
    return existing(model)


def existing(model: str) -> str:
    """`model`, if there is such a model."""
    if UNKNOWN_MODEL.search(model):
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise RefusedError(error(404, message, code="model_not_found"))
    return model


def not_json() -> Answer:
    """The answer to a body that is not JSON."""
    return error(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
        "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was "
        "sent was not valid JSON.)",
    )


def no_key() -> Answer:
    """The answer to a call without a key."""
    return error(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
    )


def wrong_key(key: str) -> Answer:
    """The answer to a key that is none; the key is masked in it."""
    masked = f"{key[:4]}{'*' * 8}{key[-4:]}"
    return error(
        401,
        f"Incorrect API key provided: {masked}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def no_route(method: str, path: str) -> Answer:
    """The answer to a path that is none."""
    return error(404, f"Invalid URL ({method} {path})")

"""`GET /openapi.json` and `GET /docs`: the packaged OpenAPI document, and a page of it.

Both need no credential: they tell nothing that the source does not. They are read and
made when first asked for, in a thread, and then kept.
"""

from __future__ import annotations

import asyncio
import json
from functools import cache
from importlib.resources import files

from lava_grpc.rest.docs_page import CONTENT_SECURITY_POLICY, page
from lava_grpc.rest.http import Answer, Incoming
from lava_grpc.rest.paths import DOCS_PATH, OPENAPI_PATH
from lava_grpc.rest.router import Params, Router

HTML_TYPE = "text/html; charset=utf-8"

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def add_docs(router: Router) -> None:
    """Add both paths."""
    router.add("GET", OPENAPI_PATH, _openapi)
    router.add("GET", DOCS_PATH, _page)


@cache
def packaged() -> bytes:
    """The document as tools/openapi.py wrote it beside the generated modules."""
    return files("lava.v1").joinpath("openapi.json").read_bytes()


@cache
def _html() -> bytes:
    return page(json.loads(packaged())).encode()


async def _openapi(request: Incoming, params: Params) -> Answer:
    del request, params
    return Answer(await asyncio.to_thread(packaged))


async def _page(request: Incoming, params: Params) -> Answer:
    del request, params
    return Answer(await asyncio.to_thread(_html), headers=_HEADERS, content_type=HTML_TYPE)

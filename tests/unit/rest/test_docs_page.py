"""The page of the OpenAPI document."""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

from typing_extensions import override

from lava_grpc.core.errors import Reason
from lava_grpc.rest.docs import packaged
from lava_grpc.rest.docs_page import CONTENT_SECURITY_POLICY, page

DOCUMENT: dict[str, Any] = json.loads(packaged())
PAGE = page(DOCUMENT)

_VOID = frozenset(("meta",))


class _Reader(HTMLParser):
    """What is on the page; fails where a tag is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._open: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        facts = dict(attrs)
        if (ident := facts.get("id")) is not None:
            self.ids.append(ident)
        if (target := facts.get("href")) is not None:
            self.targets.append(target)
        if tag not in _VOID:
            self._open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def _read(text: str) -> _Reader:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_it_shows_every_operation_schema_and_reason() -> None:
    ids = set(_read(PAGE).ids)

    assert {op["operationId"] for i in DOCUMENT["paths"].values() for op in i.values()} <= ids
    assert {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]} <= ids
    assert all(f"<td><code>{reason.lower()}</code></td>" in PAGE for reason in Reason)


def test_every_link_leads_somewhere_on_it() -> None:
    reader = _read(PAGE)

    inner = {target.removeprefix("#") for target in reader.targets if target.startswith("#")}
    assert inner - set(reader.ids) == set()
    assert len(reader.ids) == len(set(reader.ids))
    assert {target for target in reader.targets if target[0] != "#"} == {"/openapi.json"}


def test_it_runs_nothing_and_fetches_nothing() -> None:
    reader = _read(PAGE)

    assert not reader.tags & {"script", "img", "link", "iframe", "form", "object"}
    assert not reader.attributes & {"src", "style", "onclick"}
    assert "//" not in re.sub(r"https://[\w./…-]*", "", "".join(reader.targets))


def test_the_policy_lets_in_its_style_and_nothing_else() -> None:
    style = re.findall(r"<style>(.*?)</style>", PAGE, re.DOTALL)
    [digest] = [base64.b64encode(sha256(each.encode()).digest()).decode() for each in style]

    assert f"style-src 'sha256-{digest}';" in CONTENT_SECURITY_POLICY
    assert "script-src" not in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_what_the_document_says_is_no_html() -> None:
    bad = "<script>alert(1)</script>"
    hostile = json.loads(json.dumps(DOCUMENT).replace("No credential is needed.", bad))

    assert bad not in page(hostile)
    assert "&lt;script&gt;" in page(hostile)

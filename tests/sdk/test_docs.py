"""The pages under docs/ say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lava_grpc.api.status import TABLE
from lava_grpc.core.request_record import Flag
from lava_grpc.providers.prices import PriceBook
from lava_grpc.rest.inventory import endpoints
from tests.sdk.quickstart import ROOT
from tools import providers_doc, rest_doc

DOCS = ROOT / "docs"
_PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])
_LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
_FILE = re.compile(r"`((?:app|api|core|gateway|providers|rest|server|store)/[a-z_/]+\.py)`")


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall((ROOT / page).read_text()) if "://" not in link]

    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = _FILE.findall((ROOT / page).read_text())

    assert [name for name in named if not (ROOT / "lava_grpc" / name).is_file()] == []


def test_the_rest_page_has_every_endpoint_that_lava_documents() -> None:
    told = {
        (method, rest_doc.shape(path)): status
        for method, path, status in re.findall(
            r"^\| ([A-Z]+) \| `([^`]+)` \| [^|]*\| (served|501) \|$", _text("rest.md"), re.MULTILINE
        )
    }
    documented = {(method, rest_doc.shape(path)) for method, path in endpoints()}

    # These are no routes made from the protos, but code of their own.
    assert set(told) == documented | {
        ("ANY", "/v1/forward"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/rewrite/{}/{}"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages"),
    }
    assert told["POST", "/v1/requests"] == told["ANY", "/v1/forward"] == "served"
    assert told["POST", "/v1/rewrite/{}/{}"] == "501"


def test_the_tables_of_the_rest_page_are_current_and_stale_ones_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "rest.md"
    stale.write_text(_text("rest.md").replace("| served |", "| 501 |", 1))

    assert rest_doc.main(["--check"]) == 0
    assert rest_doc.main(["--check"], stale) == 1
    assert "make generate" in capsys.readouterr().out
    assert rest_doc.main([], stale) == 0
    assert stale.read_text() == _text("rest.md")


def test_the_table_of_errors_is_the_one_that_the_code_uses() -> None:
    told = {
        (reason, code, int(status))
        for reason, code, status in re.findall(
            r"^\| `([A-Z_]+)` \| ([A-Z_]+) \| (\d+) \|", _text("operations.md"), re.MULTILINE
        )
    }

    assert told == {(reason.value, wire.code.name, wire.http) for reason, wire in TABLE.items()}


def test_every_mark_is_explained() -> None:
    marks = _text("operations.md").partition("## Marks")[2].partition("## ")[0]

    told = re.findall(r"^\| ([A-Z]+) \|", marks, re.MULTILINE)

    assert sorted(told) == sorted(flag.name for flag in Flag)


def test_the_price_file_of_the_page_can_be_used(tmp_path: Path) -> None:
    found = re.search(
        r"<!-- prices -->\n```json\n(.*?)^```", _text("prices.md"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    prices = tmp_path / "prices.json"
    prices.write_text(found.group(1))

    PriceBook(prices)

    assert json.loads(found.group(1))["providers"]


def test_the_page_of_providers_is_current_and_a_stale_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "providers.md"
    stale.write_text("# Providers\n")

    assert providers_doc.main(["--check"]) == 0
    assert providers_doc.main(["--check"], stale) == 1
    assert "make generate" in capsys.readouterr().out
    assert providers_doc.main([], stale) == 0
    assert providers_doc.main(["--check"], stale) == 0


def _text(page: str) -> str:
    return (DOCS / page).read_text()

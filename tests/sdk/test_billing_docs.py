"""The examples of the pages on plans, payments and spend keys run as they stand, in order."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import AsyncIterator

import pytest

from lava_grpc.testing.quickstart import GRPC_DEFAULT, HTTP_DEFAULT
from tests.sdk.quickstart import ROOT, Quickstart, running_quickstart, shell

_BLOCK = re.compile(r"^<!-- run -->\n```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANY = re.compile(r"^```(?:bash|python)$", re.MULTILINE)


@pytest.fixture
async def quickstart() -> AsyncIterator[Quickstart]:
    async with running_quickstart() as running:
        yield running


@pytest.mark.parametrize(
    ("page", "last"),
    [
        ("plans.md", '"type":"cancellation"'),
        ("payments.md", "Team"),
        ("spend-keys.md", '"success":true'),
    ],
)
async def test_the_pages_examples_run(quickstart: Quickstart, page: str, last: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    blocks = _BLOCK.findall(text)

    # One shell, since later examples use what earlier ones made.
    done = await shell(
        "\n".join(["set -eo pipefail", *[_line(*block) for block in blocks]])
        .replace(HTTP_DEFAULT, quickstart.http_url.removeprefix("http://"))
        .replace(GRPC_DEFAULT, quickstart.grpc_address),
        LAVA_KEY=quickstart.secret_key,
        PYTHON=sys.executable,
    )

    assert len(blocks) == len(_ANY.findall(text)) > 1
    assert done.code == 0, done.out
    assert last in done.out


def _line(language: str, code: str) -> str:
    return code if language == "bash" else f'"$PYTHON" -c {shlex.quote(code)}'

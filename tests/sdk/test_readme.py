"""The README is true: its snippets run as they stand, and its table has every setting."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum

import pytest

from lava_grpc import config
from lava_grpc.testing.quickstart import GRPC_DEFAULT, HTTP_DEFAULT
from tests.sdk.quickstart import ROOT, Quickstart, running_quickstart, shell

README = (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"^<!-- run -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(r"^\| `(LAVA_\w+)` \| (\S+) \|", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block of the README, its language, and the heading that it is under."""

    language: str
    text: str
    heading: str


def _snippets() -> list[Snippet]:
    found = []
    for block in _BLOCK.finditer(README):
        heading = README[: block.start()].rpartition("\n### ")[2].partition("\n")[0]
        found.append(Snippet(block.group(1), block.group(2), heading))
    return found


def _name(snippet: Snippet) -> str:
    return f"{snippet.heading.partition(':')[0]} {snippet.language}"


@pytest.fixture
async def quickstart() -> AsyncIterator[Quickstart]:
    async with running_quickstart() as running:
        yield running


async def test_every_snippet_runs_as_it_stands(quickstart: Quickstart) -> None:
    outputs: dict[str, list[str]] = {}
    for snippet in _snippets():
        code = snippet.text.replace(HTTP_DEFAULT, quickstart.http_url.removeprefix("http://"))
        code = code.replace(GRPC_DEFAULT, quickstart.grpc_address)
        done = await _run(snippet.language, code, {"LAVA_KEY": quickstart.secret_key})
        assert done is not None, f"{_name(snippet)}: no way to run {snippet.language}"
        assert done[0] == 0, f"{_name(snippet)}\n{code}\n{done[1]}"
        outputs.setdefault(_name(snippet), []).append(done[1])

    assert {name: len(found) for name, found in outputs.items()} == {
        "Gateway bash": 1,
        "Gateway python": 2,
        "Two-step bash": 1,
        "Two-step python": 1,
        "Post-request bash": 1,
        "Post-request python": 2,
    }
    assert '"chat.completion"' in outputs["Gateway bash"][0]
    assert len(outputs["Gateway python"][0].split()) == 12
    assert re.search(r"^200 req_\w+$", outputs["Gateway python"][1], re.MULTILINE)
    assert re.search(r"^charged 0\.0\d+$", outputs["Gateway python"][1], re.MULTILINE)
    assert '"state":"active"' in outputs["Two-step bash"][0]
    assert '"amount":"0.0246240000"' in outputs["Two-step bash"][0]
    assert outputs["Two-step python"] == ["held 0.0300000000 charged 0.0246240000\n"]
    assert '"amount":"0.0010000000"' in outputs["Post-request bash"][0]
    assert outputs["Post-request python"] == [
        "charged 0.0010000000\n",
        "cost 0.0004032000 charged 0.0246240000\n",
    ]


def test_every_block_in_a_language_is_marked_to_be_run() -> None:
    languages = re.findall(r"^```(bash|python)$", README, re.MULTILINE)

    assert len(languages) == len(_snippets())


def test_the_table_has_every_setting_with_its_default_and_nothing_else() -> None:
    expected = {
        f"{config.PREFIX}{name.upper()}": _default(field.get_default(call_default_factory=True))
        for name, field in config.Settings.model_fields.items()
    }

    assert dict(_SETTING.findall(README)) == expected


def _default(value: object) -> str:
    if value is None or value in ({}, frozenset(), ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.value if isinstance(value, Enum) else value}`"


async def _run(language: str, code: str, variables: Mapping[str, str]) -> tuple[int, str] | None:
    match language:
        case "bash":
            done = await shell(f"set -e\n{code}", **variables)
        case "python":
            done = await shell(
                'exec "$PYTHON" -c "$CODE"', PYTHON=sys.executable, CODE=code, **variables
            )
        case _:
            return None
    return done.code, done.out

"""`make demo`: it tells the whole story, and ends by itself with balanced books."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest

from tests.sdk.quickstart import ROOT, SECONDS_MAX
from tests.support.process import environment


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lava_grpc.testing.demo"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_stops_before_the_provider_and_its_books_balance(printed: str) -> None:
    for call in (
        "chat completion ",
        "chat, streamed",
        "message ",
        "message, streamed",
        "authorize, work, report",
        "report after the fact",
    ):
        assert call in printed
    # The table breaks this note over two lines.
    assert "402 insufficient_credits" in printed
    assert "never saw it" in printed
    assert "SAW IT" not in printed
    assert re.search(
        r"^verify: clean \(2 accounts, \d+ entries, \d+ holds\)$", printed, re.MULTILINE
    )


def test_each_row_adds_up(printed: str) -> None:
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    rows = [row for row in lines if len(row) == 7]
    charged = [row for row in rows if row[3]]
    held = [row for row in charged if row[2]]
    balances = [_e10(row[5]) for row in rows if row[5]]

    assert len(charged) >= 7
    assert len(held) == len(charged) - 1
    assert all(_e10(row[2]) == _e10(row[3]) + _e10(row[4]) for row in held)
    # Each call's charge, and the refused call, which changed nothing.
    spent = [before - after for before, after in itertools.pairwise(balances)]
    assert spent == [*(_e10(row[3]) for row in charged), 0]


def _e10(amount: str) -> int:
    whole, _, places = amount.partition(".")
    return int(whole + places.ljust(10, "0"))

"""A pytest plugin: its run ends with a line `N passed, N failed`, and what was skipped if anything.

A test that stands for many (those of another language's test runner) records how many as
properties `pass`, `fail` and `skipped`, and counts as these.
"""

from __future__ import annotations

from collections import Counter

import pytest

_counts: Counter[str] = Counter()
_PARTS = {"pass": "passed", "fail": "failed", "skipped": "skipped"}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    inner = {_PARTS[name]: number for name, number in report.user_properties if name in _PARTS}
    if report.when == "call" and inner:
        _counts.update({name: int(str(number)) for name, number in inner.items()})
    elif report.when == "call" or report.outcome != "passed":
        _counts[report.outcome] += 1


def pytest_unconfigure() -> None:
    skipped = f", {_counts['skipped']} skipped" if _counts["skipped"] else ""
    print(f"{_counts['passed']} passed, {_counts['failed']} failed{skipped}")

from __future__ import annotations

import pytest
import structlog

from lava_grpc.telemetry import logs


def _fail(secret_key: str) -> None:
    raise ValueError(len(secret_key))


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_logged_exception_shows_no_local_variables(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    logs.configure(level="info", as_json=form == "json")
    try:
        _fail("sk-" + "hidden")
    except ValueError:
        structlog.get_logger().exception("it failed")
    finally:
        structlog.reset_defaults()
    shown = capsys.readouterr().err
    assert "it failed" in shown
    assert "ValueError" in shown
    assert "sk-hidden" not in shown

"""Official JavaScript clients against a running gateway: one test for each file in `node/`.

The files are driven by Node's own test runner. What they cover is in them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lava_grpc.providers.catalogue import PROVIDERS
from tests.sdk.node.control import controlling
from tests.support.service import Running, running

FOLDER = Path(__file__).resolve().parent / "node"
FILES = sorted(path.name for path in FOLDER.glob("*.test.mjs"))
NODE_MIN = 20
INSTALL_SECONDS_MAX = 90.0
RUN_SECONDS_MAX = 60.0

_COUNT = re.compile(r"^# (tests|pass|fail|skipped) (\d+)$", re.MULTILINE)
_HOSTS = [host for provider in PROVIDERS for host in provider.hosts]


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node, with the clients installed. Without it the test is skipped."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("Node and npm are not installed")
    if _major(found) < NODE_MIN:
        pytest.skip(f"the clients need Node {NODE_MIN} or newer")
    # One worker installs, the others wait for it.
    with (Path(tempfile.gettempdir()) / f"lava-grpc-node-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_installed() and (trouble := _install(npm)):
            if os.environ.get("CI"):
                pytest.fail(f"npm could not install the clients:\n{trouble}")
            pytest.skip("npm could not install the clients")
    return found


@pytest.mark.parametrize("file", FILES)
async def test_a_javascript_client(
    node: str,
    sqlite_url: str,
    file: str,
    record_property: Callable[[str, object], None],
) -> None:
    async with (
        running(sqlite_url, hosts=_HOSTS, payment_provider="test") as on,
        controlling(on.provider) as control,
    ):
        code, output = await _run(node, file, _environment(on, control))
        await on.verified()
    counts = {name: int(number) for name, number in _COUNT.findall(output)}
    for name in ("pass", "fail", "skipped"):
        record_property(name, counts.get(name, 0))
    print(output)
    assert code == 0
    assert counts["tests"] > 0
    if counts["skipped"] == counts["tests"]:
        pytest.skip("not implemented yet")


def _environment(on: Running, control: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("LAVA_")},
        "LAVA_TEST_URL": on.http_url,
        "LAVA_TEST_KEY": on.secret_key,
        "FAKE_URL": on.provider.base_url,
        "FAKE_CONTROL_URL": control,
    }


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def _is_installed() -> bool:
    made, wanted = FOLDER / "node_modules/.package-lock.json", FOLDER / "package-lock.json"
    return made.exists() and made.stat().st_mtime >= wanted.stat().st_mtime


def _install(npm: str) -> str:
    """Install what the lock file names; what npm said if it could not."""
    try:
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"],
            cwd=FOLDER,
            check=False,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {INSTALL_SECONDS_MAX:.0f} seconds"
    return done.stdout + done.stderr if done.returncode else ""


async def _run(node: str, file: str, environment: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(node, "--test", "--test-reporter=tap", file),
        cwd=FOLDER,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS_MAX):
            out, _ = await process.communicate()
    except TimeoutError:
        return 1, f"Node took longer than {RUN_SECONDS_MAX:.0f} seconds"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace")

"""`make run` as a process: started for real, and stopped as a user stops it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import environment

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60.0
_LAST_LINE = "Serving until Ctrl-C."


@dataclass(frozen=True, slots=True)
class Ran:
    """What a shell command came to."""

    code: int
    out: str


@dataclass(frozen=True, slots=True)
class Quickstart:
    """A quickstart that serves, and what it printed."""

    process: asyncio.subprocess.Process
    printed: str

    @property
    def grpc_address(self) -> str:
        """Where it says that gRPC listens."""
        return self._said(r"^gRPC  (\S+)$")

    @property
    def http_url(self) -> str:
        """Where it says that REST listens."""
        return self._said(r"^REST  (\S+)$")

    @property
    def secret_key(self) -> str:
        """The key that it printed."""
        return self._said(r"^  export LAVA_KEY=(\S+)$")

    @property
    def commands(self) -> list[str]:
        """The lines to paste."""
        return [line.strip() for line in self.printed.splitlines() if line.startswith("  ")]

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it as the signal does; its exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(SECONDS_MAX):
            await self.process.communicate()
        return self.process.returncode or 0

    def _said(self, pattern: str) -> str:
        found = re.search(pattern, self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return found.group(1)


@asynccontextmanager
async def running_quickstart(**settings: object) -> AsyncIterator[Quickstart]:
    """`python -m lava_grpc.testing.quickstart`, on free ports unless told otherwise."""
    chosen = {"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0", **settings}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lava_grpc.testing.quickstart"),
        cwd=ROOT,
        env=environment(**{name: value for name, value in chosen.items() if value is not None}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Quickstart(process, await _printed(process))
    finally:
        if process.returncode is None:
            # Not kill: the server that it started would be left behind.
            process.terminate()
            async with asyncio.timeout(SECONDS_MAX):
                await process.communicate()


async def shell(command: str, **variables: str) -> Ran:
    """Run a line as a user's shell would, with this environment's commands on its path."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), str(ROOT / ".tools" / "bin"), os.environ["PATH"]]
    )
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=ROOT,
        env=environment() | {"PATH": path} | variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS_MAX):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ran(process.returncode or 0, out.decode())


async def _printed(process: asyncio.subprocess.Process) -> str:
    lines: list[str] = []
    if process.stdout is not None:
        async with asyncio.timeout(SECONDS_MAX):
            while line := await process.stdout.readline():
                lines.append(line.decode())
                if lines[-1].strip() == _LAST_LINE:
                    break
    return "".join(lines)

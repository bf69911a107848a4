"""A certificate authority for one test, made with openssl."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

_SERVER = "subjectAltName=IP:127.0.0.1,DNS:localhost\n"


@dataclass(frozen=True, slots=True)
class Pair:
    """PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A root, a server's certificate of it, and a client's."""

    root: Pair
    server: Pair
    client: Pair


async def make_authority(folder: Path) -> Authority:
    """Make all of it in `folder`; raises FileNotFoundError without openssl."""
    root = _pair(folder, "root")
    await _openssl("req", "-x509", "-subj", "/CN=test root", "-days", "2", *_new(root))
    signed = [await _signed(folder, root, name) for name in ("server", "client")]
    return Authority(root, *signed)


async def _signed(folder: Path, root: Pair, name: str) -> Pair:
    pair = _pair(folder, name)
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions.write_text(_SERVER, encoding="ascii")
    await _openssl("req", "-subj", f"/CN={name}", *_new(Pair(request, pair.key)), "-sha256")
    await _openssl(
        *("x509", "-req", "-in", str(request), "-days", "2", "-CAcreateserial"),
        *("-CA", str(root.certificate), "-CAkey", str(root.key)),
        *("-extfile", str(extensions), "-out", str(pair.certificate)),
    )
    return pair


def _pair(folder: Path, name: str) -> Pair:
    return Pair(folder / f"{name}.pem", folder / f"{name}-key.pem")


def _new(pair: Pair) -> list[str]:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    return [*curve, "-keyout", str(pair.key), "-out", str(pair.certificate)]


async def _openssl(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "openssl",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(said.decode())

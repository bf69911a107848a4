"""Lint `proto/` with buf, and refuse changes that break clients already out there.

    python -m tools.check_protos [--against REVISION]

buf reads descriptor images that generate.py builds, so nothing is fetched.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from tools.generate import ROOT, write_image


def main() -> int:
    """Run both checks; 0 if they pass or there is nothing earlier to compare with."""
    parser = argparse.ArgumentParser(description="Lint proto/ and look for breaking changes.")
    parser.add_argument("--against", help="git revision to compare with", default="")
    against = parser.parse_args().against or _base()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "new.binpb")
        write_image(ROOT / "proto", image)
        failed = _buf("lint", str(image))
        earlier = _protos_at(against, Path(folder, "earlier")) if against else None
        if earlier is None:
            print(f"buf breaking: skipped, no earlier protos ({against or 'no earlier commit'})")
            return failed
        old = Path(folder, "old.binpb")
        write_image(earlier, old)
        return failed | _buf("breaking", str(image), "--against", str(old))


def _base() -> str:
    """Return what the working tree is compared with: the main branch, else the commit before."""
    head = _git("rev-parse", "--verify", "--quiet", "HEAD")
    main_branch = _git("rev-parse", "--verify", "--quiet", "origin/main")
    if main_branch not in ("", head):
        return "origin/main"
    if head and _git("status", "--porcelain", "--", "proto"):
        return "HEAD"
    return "HEAD~1" if _git("rev-parse", "--verify", "--quiet", "HEAD~1") else ""


def _protos_at(revision: str, folder: Path) -> Path | None:
    """Unpack `proto/` as it was at `revision`; None if it had no protos."""
    if not _git("ls-tree", "-r", "--name-only", revision, "--", "proto"):
        return None
    done = subprocess.run(
        [_program("git"), "archive", revision, "proto"], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "proto"


def _buf(*arguments: str) -> int:
    command = [_program("buf"), *arguments, "--config", str(ROOT / "buf.yaml")]
    failed = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"buf {arguments[0]}: {'failed' if failed else 'ok'}")
    return 1 if failed else 0


def _git(*arguments: str) -> str:
    # No repository, or no such revision, reads as empty.
    done = subprocess.run(
        [_program("git"), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _program(name: str) -> str:
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed")
    return found


if __name__ == "__main__":
    sys.exit(main())

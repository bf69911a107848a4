"""A disk of a few megabytes that can be filled up and freed: a file system in memory, mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FILLER = "filler"
_CHUNKS_BYTES = (1024 * 1024, 64 * 1024, 4096)


class NoSmallDiskError(Exception):
    """Nothing may be mounted here: it takes root, or a container that lets one mount."""


class SmallDisk:
    """Where it is mounted, and its filler."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take all the room that is left."""
        with (self.path / _FILLER).open("ab", buffering=0) as filler:
            for size in _CHUNKS_BYTES:
                with contextlib.suppress(_FullError):
                    while True:
                        _write(filler.fileno(), bytes(size))

    def free(self) -> None:
        """Give it back."""
        (self.path / _FILLER).unlink()


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoSmallDiskError(f"no {name}")
    return found


class _FullError(Exception):
    pass


def _write(file: int, data: bytes) -> None:
    try:
        os.write(file, data)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _FullError from None
        raise


@contextmanager
def small_disk(mebibytes: int) -> Iterator[SmallDisk]:
    """Mount one until the block ends; raises NoSmallDiskError where that is not allowed."""
    with tempfile.TemporaryDirectory(prefix="lava-disk-") as folder:
        options = f"size={mebibytes}m,mode=0777"
        try:
            subprocess.run(
                [_program("mount"), "-t", "tmpfs", "-o", options, "lava-disk", folder],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoSmallDiskError(str(error)) from None
        try:
            # The folder above is its maker's alone, and PostgreSQL is another user.
            Path(folder).chmod(0o777)
            yield SmallDisk(Path(folder))
        finally:
            subprocess.run([_program("umount"), "--lazy", folder], check=True)

"""Generate everything that is made from `proto/`.

    python -m tools.generate            write generated/
    python -m tools.generate --check    fail if generated/ is not current
    python -m tools.generate --image F  write the descriptor image for buf to F

One protoc run makes messages, gRPC code and typed stubs for both. buf has no
plugin for gRPC in Python, so it only reads the image. The OpenAPI document is made
from both, by tools/openapi.py.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from google.api import annotations_pb2

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "lava"
OPENAPI = "openapi.yaml"

# `lava` is a regular package, so that clients who install it get these stubs
# and not a namespace that another distribution can add to.
PACKAGE_DOC = '"""Generated from proto/ by tools/generate.py. Do not edit."""\n'


def generate(protos: Path, out: Path) -> None:
    """Write the package that `protos` generates to `out / PACKAGE`, replacing it."""
    _protoc(
        protos,
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
    )
    package = out / PACKAGE
    for folder in [package, *(path for path in sorted(package.rglob("*")) if path.is_dir())]:
        (folder / "__init__.py").write_text(PACKAGE_DOC, encoding="utf-8")
    (package / "py.typed").touch()


def describe(protos: Path, out: Path) -> None:
    """Write the OpenAPI document of the package in `out` to `out`, and into the package.

    In a process of its own, which imports that package and not the one of before.
    Raises CalledProcessError where lava_grpc does not fit the protos yet.
    """
    image = out / "image.binpb"
    write_image(protos, image)
    command = [sys.executable, "-m", "tools.openapi", str(image), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(out)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    image.unlink()


def write_image(protos: Path, image: Path) -> None:
    """Write the descriptors of `protos`, their imports and comments, to `image`."""
    _protoc(protos, "--include_imports", "--include_source_info", f"--descriptor_set_out={image}")


def differences(left: Path, right: Path) -> list[str]:
    """The files, by path below both folders, that are not the same in both."""
    names = _files(left) | _files(right)
    return sorted(
        name
        for name in names
        if not (left / name).is_file()
        or not (right / name).is_file()
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Generate code from proto/.")
    parser.add_argument("--protos", type=Path, default=ROOT / "proto", help="root of the protos")
    parser.add_argument("--out", type=Path, default=ROOT / "generated", help="root of the code")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare and write nothing")
    action.add_argument("--image", type=Path, help="write a descriptor image instead of code")
    options = parser.parse_args(argv)
    if options.image:
        write_image(options.protos, options.image)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(options.protos, fresh)
        described = _described(options.protos, fresh, options.out)
        stale = differences(fresh / PACKAGE, options.out / PACKAGE)
        if not _same(fresh / OPENAPI, options.out / OPENAPI):
            stale.append(OPENAPI)
        if not options.check:
            # Whole, so that the code of a removed proto goes too.
            shutil.rmtree(options.out / PACKAGE, ignore_errors=True)
            shutil.copytree(fresh / PACKAGE, options.out / PACKAGE)
            if described:
                shutil.copy(fresh / OPENAPI, options.out / OPENAPI)
    if not options.check:
        print(f"{options.out.name}: {len(stale)} files changed")
    elif stale:
        print("Not what proto/ generates (run `make generate`):", *stale, sep="\n  ")
        return 1
    return 0 if described else 1


def _described(protos: Path, fresh: Path, before: Path) -> bool:
    """Describe `fresh`; where that fails, keep the document that was there `before`.

    The code is written in any case: whoever changes protos needs it to change the rest.
    """
    try:
        describe(protos, fresh)
    except subprocess.CalledProcessError:
        print("The OpenAPI document could not be made: does lava_grpc fit these protos?")
        for name in (OPENAPI, f"{PACKAGE}/v1/openapi.json"):
            if (before / name).is_file():
                shutil.copy(before / name, fresh / name)
        return False
    return True


def _same(left: Path, right: Path) -> bool:
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


def _protoc(protos: Path, *arguments: str) -> None:
    sources = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    if not sources:
        raise SystemExit(f"{protos}: no .proto files")
    # google/api and google/rpc come with googleapis-common-protos.
    shared = Path(annotations_pb2.__file__).parents[2]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"-I{shared}"]
    done = subprocess.run([*command, *arguments, *sources], env=_environment(), check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def _environment() -> dict[str, str]:
    # protoc finds its plugins on PATH; take those of this environment, whether
    # or not it is activated.
    scripts = sysconfig.get_path("scripts")
    return {**os.environ, "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])}


def _files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


if __name__ == "__main__":
    sys.exit(main())

"""Write the OpenAPI document: readable as YAML, and as JSON into the package that serves it.

    python -m tools.openapi IMAGE OUT

IMAGE is what `tools.generate --image` writes: descriptors with their comments. The
modules generated from the same protos must come first on the path, so that
tools.generate runs this in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from typing_extensions import override

from lava_grpc.rest.openapi import document

YAML_NAME = "openapi.yaml"
JSON_NAME = "lava/v1/openapi.json"

_HEAD = "# Generated from proto/ by tools/openapi.py. Do not edit: `make generate`.\n"


def comments(image: bytes) -> dict[str, str]:
    """What the protos say of each message, field, enum, value, service and RPC."""
    return {
        name: text
        for file in FileDescriptorSet.FromString(image).file
        if file.package == "lava.v1"
        for name, text in _of_file(file)
    }


def write(image: bytes, out: Path) -> None:
    """Write both files below `out`."""
    made = document(comments(image))
    text = yaml.dump(made, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)
    (out / YAML_NAME).write_text(_HEAD + text, encoding="utf-8")
    (out / JSON_NAME).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description="Write the OpenAPI document.")
    parser.add_argument("image", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    write(options.image.read_bytes(), options.out)
    return 0


class _Plain(yaml.SafeDumper):
    """Writes what is there twice twice, instead of referring to it."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _text(dumper: _Plain, text: str) -> yaml.Node:
    """Several lines as such, and not quoted."""
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Plain.add_representer(str, _text)


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        text = "\n".join(line.strip() for line in location.leading_comments.splitlines()).strip()
        if text and (name := _name(file, list(location.path))) is not None:
            yield f"{file.package}.{name}", text


def _name(file: FileDescriptorProto, path: list[int]) -> str | None:
    """The name of what is at `path`, a chain of field numbers and indices; None for an option."""
    at: Any = file
    names: list[str] = []
    enum_value = False
    for number, index in zip(path[::2], path[1::2], strict=False):
        field = at.DESCRIPTOR.fields_by_number.get(number)
        if field is None or field.message_type is None or not field.is_repeated:
            return None
        at = getattr(at, field.name)[index]
        if not hasattr(at, "name"):
            return None
        enum_value = field.message_type.name == "EnumValueDescriptorProto"
        names.append(at.name)
    if len(path) % 2 or not names:
        return None
    if enum_value:
        # An enum's values are siblings of the enum.
        del names[-2]
    return ".".join(names)


if __name__ == "__main__":
    sys.exit(main())

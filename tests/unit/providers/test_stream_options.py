"""Asking for usage by changing as few bytes as can be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.providers.stream_options import ask_for_usage
from tests.unit.providers.steady import steady

OPTIONS = st.none() | st.fixed_dictionaries(
    {}, optional={"include_usage": st.booleans() | st.none(), "include_obfuscation": st.booleans()}
)
BODIES = st.dictionaries(
    st.text(max_size=6) | st.sampled_from(["model", "messages", '"stream_options"']),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=6,
    ),
    max_size=5,
)


@steady
@given(BODIES, OPTIONS, st.booleans(), st.sampled_from([None, 0, 2]), st.booleans())
def test_only_the_option_changes(
    body: dict[str, object],
    options: object,
    given_options: bool,  # noqa: FBT001 - an example's property
    indent: int | None,
    ascii_only: bool,  # noqa: FBT001
) -> None:
    body.pop("stream_options", None)
    if given_options:
        body["stream_options"] = options
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode()
    asked = ask_for_usage(raw, has_options=given_options)
    before = options if given_options and isinstance(options, dict) else {}
    if before.get("include_usage") is True:
        assert asked is None
        return
    assert asked is not None
    assert json.loads(asked) == body | {"stream_options": before | {"include_usage": True}}


def test_all_other_bytes_stay_as_they_were() -> None:
    raw = ' {\n "a" : 1.50e+3,"b":"\\u00e9 é" }\n'.encode()
    asked = ask_for_usage(raw, has_options=False)
    assert asked is not None
    assert asked.replace(b'"stream_options":{"include_usage":true},', b"") == raw


def test_of_several_options_the_last_counts() -> None:
    raw = b'{"stream_options":{"include_usage":true},"stream_options":{"include_usage":false}}'
    asked = ask_for_usage(raw, has_options=True)
    assert asked is not None
    assert json.loads(asked)["stream_options"] == {"include_usage": True}


def test_the_option_within_another_value_is_left_alone() -> None:
    raw = b'{"tools":[{"stream_options":{"include_usage":false}}],"stream_options":{}}'
    asked = ask_for_usage(raw, has_options=True)
    assert asked is not None
    assert json.loads(asked)["tools"] == [{"stream_options": {"include_usage": False}}]


@pytest.mark.parametrize("raw", [b"", b"[]", b'"x"', b"{", b'{"a"', b"\xff{}", b'{"a":' * 5000])
def test_what_is_no_object_is_left_alone(raw: bytes) -> None:
    assert ask_for_usage(raw, has_options=True) is None


@pytest.mark.parametrize("options", ['"x"', "1", "[]"])
def test_options_of_another_kind_are_for_the_provider_to_refuse(options: str) -> None:
    raw = f'{{"stream_options":{options}}}'.encode()
    assert ask_for_usage(raw, has_options=True) is None

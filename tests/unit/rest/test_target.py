"""Where a forwarded call goes: encoded or not, in the query or in the path."""

from __future__ import annotations

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest.target import Target, read_target

BASES = {
    "openai": "https://api.openai.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "plain": "https://plain.example",
}


def url(path: str, query: str = "") -> str:
    return read_target(path, query, BASES).url


def refused(path: str, query: str = "") -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_target(path, query, BASES)
    return caught.value


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # As the SDK's gateway() writes it, and as its `providers` make clients write it.
        (
            "u=https%3A%2F%2Fapi.openai.com%2Fv1%2Fchat%2Fcompletions",
            "https://api.openai.com/v1/chat/completions",
        ),
        (
            "u=https://api.openai.com/v1/chat/completions",
            "https://api.openai.com/v1/chat/completions",
        ),
        # The target's own query, encoded with it or cut off by its first `&`.
        ("u=https%3A%2F%2Fh.example%2Fp%3Fa%3D1%26b%3D2", "https://h.example/p?a=1&b=2"),
        ("u=https://h.example/p?a=1&b=2&c=%2F&b=3", "https://h.example/p?a=1&b=2&c=%2F&b=3"),
        ("z=0&u=https://h.example/p&b=2", "https://h.example/p?z=0&b=2"),
        ("u=https%3A%2F%2Fh.example%2Fp%3Fa%3D1&b=2", "https://h.example/p?a=1&b=2"),
        ("u=https://h.example/p?u=1&u=2", "https://h.example/p?u=1&u=2"),
        # Escapes belong to the target where it is written unencoded.
        ("u=https://h.example/a%2Fb%20c?q=%26", "https://h.example/a%2Fb%20c?q=%26"),
        ("u=https%3A%2F%2Fh.example%2Fa%252Fb", "https://h.example/a%2Fb"),
        ("u=https%3A%2F%2Fh.example%2Fa%20b%3Fq%3D%C3%A9", "https://h.example/a%20b?q=%C3%A9"),
        ("u=https:%2F%2Fh.example%2Fp", "https://h.example/p"),
        ("u=HTTPS://h.example/P", "https://h.example/P"),
        ("u=https%3A%2F%2Fh.example%2Fp%23frag&b=2", "https://h.example/p?b=2"),
        ("u=https://h.example/p?alt=sse&key=cred", "https://h.example/p?alt=sse"),
        ("u=https://h.example/p?key=cred&alt=sse", "https://h.example/p?alt=sse"),
        ("u=https://h.example/p&metadata=%7B%7D", "https://h.example/p"),
        # An encoded target's own `key` was put there on purpose.
        ("u=https%3A%2F%2Fh.example%2Fp%3Fkey%3Dx", "https://h.example/p?key=x"),
        ("u=https://h.example:8443/p?flag&x=", "https://h.example:8443/p?flag&x="),
        ("u=https://h.example/v1/models/m:generate", "https://h.example/v1/models/m:generate"),
    ],
)
def test_u_in_all_its_spellings(query: str, expected: str) -> None:
    assert url("/v1/forward", query) == expected
    assert url("/v1/forward/", query) == expected


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("https://api.openai.com/v1/x", "", "https://api.openai.com/v1/x"),
        ("https:/api.openai.com/v1/x", "", "https://api.openai.com/v1/x"),
        ("https%3A%2F%2Fapi.openai.com%2Fv1%2Fx", "", "https://api.openai.com/v1/x"),
        ("https://h.example/a%2Fb", "a=1&key=k&u=2", "https://h.example/a%2Fb?a=1&u=2"),
        ("openai/chat/completions", "", "https://api.openai.com/v1/chat/completions"),
        ("openai/v1/chat/completions", "x=1", "https://api.openai.com/v1/chat/completions?x=1"),
        ("groq/chat/completions", "", "https://api.groq.com/openai/v1/chat/completions"),
        ("groq/v1/chat/completions", "", "https://api.groq.com/openai/v1/chat/completions"),
        ("groq/openai/v1/chat/completions", "", "https://api.groq.com/openai/v1/chat/completions"),
        ("plain/a", "", "https://plain.example/a"),
        ("openai", "u=https://api.openai.com/v1/x", "https://api.openai.com/v1/x"),
        ("openai/x", "u=1", "https://api.openai.com/v1/x?u=1"),
        ("openai", "", "https://api.openai.com/v1"),
        # Another version is the provider's other API, at its root.
        ("groq/v2/chat", "", "https://api.groq.com/v2/chat"),
        ("openai/v1beta/models", "", "https://api.openai.com/v1beta/models"),
        ("plain/v2/a", "", "https://plain.example/v2/a"),
        ("openai/vector_stores", "", "https://api.openai.com/v1/vector_stores"),
    ],
)
def test_targets_in_the_path(path: str, query: str, expected: str) -> None:
    assert url(f"/v1/forward/{path}", query) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("https://api.openai.com/v1chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https%3A%2F%2Fapi.openai.com%2Fv1models", "https://api.openai.com/v1/models"),
        ("https://g.example/v1betamodels/m:go", "https://g.example/v1beta/models/m:go"),
        # Whole already, also where another base is the beginning of it.
        ("https://g.example/v1beta/models/m:go", "https://g.example/v1beta/models/m:go"),
        ("https://api.openai.com/v1?a=1", "https://api.openai.com/v1?a=1"),
        ("https://other.example/v1chat", "https://other.example/v1chat"),
        ("https://plain.example:8443/x", "https://plain.example:8443/x"),
    ],
)
def test_the_slash_that_a_client_moved_comes_back(target: str, expected: str) -> None:
    bases = {**BASES, "g": "https://g.example/v1beta", "g1": "https://g.example/v1"}
    assert read_target("/v1/forward/", f"u={target}", bases).url == expected
    # Only that client writes the path with a slash; others mean what they say.
    plain = read_target("/v1/forward", f"u={target}", bases).url
    assert plain == target or "%3A" in target


def test_an_alias_cannot_leave_its_host() -> None:
    for tail in ("@evil.example/x", "/evil.example/x", "%2F%2Fevil.example", "\\evil.example"):
        assert url(f"/v1/forward/openai/{tail}").startswith("https://api.openai.com/v1/")


def test_what_was_ours_is_handed_back_decoded() -> None:
    found = read_target("/v1/forward", "u=https://h.example/p?key=a+b%2B&metadata=%7B+%7D", BASES)
    assert found == Target("https://h.example/p", {"key": "a+b+", "metadata": "{ }"})
    # The one beside `u` counts before the one inside it.
    both = read_target("/v1/forward", "key=outer&u=https://h.example/p?key=inner", BASES)
    assert both.ours == {"key": "outer"}


def test_a_missing_or_impossible_target_is_refused() -> None:
    for query in ("", "u=", "metadata=%7B%7D"):
        assert refused("/v1/forward", query).field == "u"
    assert refused("/v1/forward", "u=https%3A%2F%2Fh.example%2F%0D%0Ax").field == "u"
    assert refused("/v1/forward", "u=https://h.example/" + "a" * 9000).field == "u"
    assert refused("/v1/forward/nobody/x").reason is Reason.NOT_FOUND
    assert refused("/v1/forward/nobody", "u=https://h.example/").reason is Reason.NOT_FOUND

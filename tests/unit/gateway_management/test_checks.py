from __future__ import annotations

import pytest

from lava_grpc.core.account import GrantSource
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import CallFacts
from lava_grpc.core.usage import Usage
from lava_grpc.gateway.checks import check_id, check_labels, check_text, fingerprint


def field_of(refused: pytest.ExceptionInfo[Refusal]) -> str | None:
    assert refused.value.reason is Reason.INVALID_FIELD
    return refused.value.field


@pytest.mark.parametrize("text", ["", "x" * 256, "a\0b", "\ud800", "é\udfff"])
def test_a_text_that_cannot_be_stored_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_text(text, "name")
    assert field_of(refused) == "name"
    assert refused.value.message.isascii()


@pytest.mark.parametrize("text", ["x", "x" * 255, "Ada Lovelace", "日本語 🎈", "two\nlines"])
def test_any_other_text_is_taken_as_it_is(text: str) -> None:
    assert check_text(text, "name") == text


@pytest.mark.parametrize("ident", ["", "x" * 256, "a\nb", "a\x7fb", "a\0", "\ud800", "a\u2028"])
def test_an_id_has_printable_characters_only(ident: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_id(ident, "request_id")
    assert field_of(refused) == "request_id"


def test_labels_are_sorted_so_that_their_order_means_nothing() -> None:
    assert check_labels({"b": "2", "a": "1"}) == (("a", "1"), ("b", "2"))
    assert check_labels({f"k{i}": "v" for i in range(100)})


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({f"k{i}": "v" for i in range(101)}, "metadata"),
        ({"": "v"}, "metadata"),
        ({"a-b": "v"}, "metadata.a-b"),
        ({"é": "v"}, "metadata.\\xe9"),
        ({"k\n": "v"}, "metadata"),
        ({"k" * 256: "v"}, "metadata." + "k" * 80),
        ({"k": ""}, "metadata.k"),
        ({"k": "v" * 256}, "metadata.k"),
        ({"k": "\0"}, "metadata.k"),
    ],
)
def test_a_bad_label_is_named(labels: dict[str, str], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_labels(labels)
    assert field_of(refused) == field


def test_equal_content_has_an_equal_fingerprint() -> None:
    parts = ("grant", None, 5, Usage(1, 2), (("a", "b"),), GrantSource.TOP_UP, b"body")
    assert fingerprint(*parts) == fingerprint(*parts)
    assert len(fingerprint(*parts)) == 32


def test_a_fingerprint_stays_what_it_was() -> None:
    # It is stored: a release that spells it otherwise refuses every repeat of an older call.
    seen = fingerprint("report", CallFacts(customer_id="con_1"), Usage(3), None, "1.50", 7)
    assert seen == "8e5bb3500b7e22bc813f284b00624e77"


DIFFERENT: list[tuple[object, ...]] = [
    (),
    (None,),
    ("",),
    (0,),
    (False,),
    ("None",),
    (b"",),
    ((),),
    ("a", "b"),
    (("a", "b"),),
    (("a",), "b"),
    ("a', 'b",),
    (["a", ["b"]],),
    ({"a": "b"},),
    (Usage(1),),
    (Usage(0, 1),),
    (("Usage", ("input_tokens", 1)),),
    (CallFacts(customer_id="a"),),
    (CallFacts(meter_id="a"),),
    ("bytes", b"a"),
    (b"a",),
    ("a",),
]


def test_other_content_has_another_fingerprint() -> None:
    assert len({fingerprint(*parts) for parts in DIFFERENT}) == len(DIFFERENT)


def test_what_has_no_stable_spelling_has_no_fingerprint() -> None:
    for value in (1.5, object(), {1, 2}):
        with pytest.raises(TypeError):
            fingerprint(value)

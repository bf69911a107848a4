"""The operator's price file: what it may say, and how it says no."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lava_grpc.core.usage import Usage
from lava_grpc.providers import price_file, rates
from lava_grpc.providers.prices import PriceBook


def _model(**entry: Any) -> price_file.PricedModel:
    found = price_file.parse({"providers": {"acme": {"m": entry}}}).find("acme", "m")
    assert found is not None
    return found


def _total(entry: dict[str, Any], **used: int) -> int:
    return rates.cost(_model(**entry).rates, Usage(**used)).total


def test_each_kind_of_unit_has_its_rate() -> None:
    assert _total({"per_million_tokens": {"input": "3"}}, input_tokens=7) == 210_000
    assert _total({"per_million_tokens": {"output": "15"}}, output_tokens=2) == 300_000
    assert _total({"per_million_characters": {"input": "15"}}, input_characters=4) == 600_000
    assert _total({"per_second": {"input": "0.0001"}}, input_micros=2_500_000) == 2_500_000
    assert _total({"per_second": {"output": "0.5"}}, output_micros=1_000) == 5_000_000
    assert _total({"per_request": "0.01"}) == 100_000_000
    assert _total({"per_web_search": "0.01"}, web_searches=3) == 300_000_000
    assert _total({"per_search_unit": "0.002"}, search_units=2) == 40_000_000
    assert _total({"per_image": "0.04"}, images=2) == 800_000_000
    assert _total({"per_page": "0.001"}, pages=5, annotated_pages=2) == 50_000_000
    paged = {"per_page": "0.001", "per_annotated_page": "0.003"}
    assert _total(paged, pages=5, annotated_pages=2) == 90_000_000


def _tier(entry: dict[str, Any], facts: dict[str, str], **used: int) -> int:
    return rates.cost(_model(**entry).in_tier(facts), Usage(**used)).total


def test_a_tiers_multiplier_is_of_the_entrys_rates_but_not_of_its_fees() -> None:
    entry = {
        "per_million_tokens": {"input": "3", "output": "15"},
        "per_second": {"input": "0.0001"},
        "per_web_search": "0.01",
        "per_request": "0.001",
        "service_tiers": {"Batch": {"multiplier": "0.5"}, "priority": {"multiplier": "1.75"}},
    }
    used = {"input_tokens": 7, "output_tokens": 2, "input_micros": 2_500_000, "web_searches": 1}
    metered, fees = 210_000 + 300_000 + 2_500_000, 110_000_000
    for standard in ({}, {"service_tier": "default"}, {"service_tier": "unheard-of"}):
        assert _tier(entry, standard, **used) == metered + fees
    assert _tier(entry, {"processing": "batch"}, **used) == metered // 2 + fees
    assert _tier(entry, {"service_tier": "PRIORITY"}, **used) == metered * 7 // 4 + fees


def test_a_tiers_own_rates_are_in_place_of_the_entrys_key_by_key() -> None:
    entry = {
        "per_million_tokens": {"input": "2", "output": "8", "cache_read": "0.2"},
        "tiers": [{"above_input_tokens": 10, "per_million_tokens": {"input": "4"}}],
        "per_web_search": "0.01",
        "service_tiers": {
            "flex": {"per_million_tokens": {"input": "1"}},
            "fast": {"per_web_search": "0.02"},
        },
    }
    used = {"input_tokens": 20, "cache_read_tokens": 10, "output_tokens": 1, "web_searches": 1}
    assert _tier(entry, {}, **used) == 10 * 40_000 + 10 * 2_000 + 80_000 + 100_000_000
    # No longer context, no cache and no output is priced apart any more.
    assert _tier(entry, {"service_tier": "flex"}, **used) == 20 * 10_000 + 100_000_000
    fast = _tier(entry, {"speed": "fast"}, **used)
    assert fast == _tier(entry, {}, **used) + 100_000_000


def test_half_of_an_odd_rate_is_rounded_once_a_line_half_to_even() -> None:
    entry = {
        "per_million_tokens": {"input": "0.0001", "output": "0.0003"},
        "service_tiers": {"batch": {"multiplier": "0.5"}},
    }
    batch = {"processing": "batch"}
    # One unit a token in, three a token out, and half of that.
    halves = [_tier(entry, batch, input_tokens=n) for n in range(1, 6)]
    assert halves == [0, 1, 2, 2, 2]
    assert _tier(entry, batch, input_tokens=1, output_tokens=1) == 0 + 2
    assert _tier(entry, batch, input_tokens=10, output_tokens=10) == 5 + 15


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"a": {"m": {"service_tiers": {"default": {}}}}}, r"default: is the standard tier"),
        ({"a": {"m": {"service_tiers": {"flex": {"multiplier": "-1"}}}}}, r"flex.multiplier: must"),
        ({"a": {"m": {"service_tiers": {"flex": {"multiplier": 101}}}}}, r"flex.multiplier: must"),
        (
            {"a": {"m": {"service_tiers": {"flex": {"multiplier": "1", "per_request": "1"}}}}},
            r"either a multiplier or rates",
        ),
        (
            {"a": {"m": {"service_tiers": {"flex": {"discount": 1}}}}},
            r"flex.discount: is not known",
        ),
        (
            {"a": {"m": {"service_tiers": {f"t{n}": {} for n in range(17)}}}},
            r"at most 16 tiers",
        ),
    ],
)
def test_a_bad_tier_is_refused_by_its_name(document: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        price_file.parse({"providers": document})


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"service_tiers": {"a": {"m": {"flex": "much"}}}}, r"service_tiers.a.m.flex: must be"),
        ({"service_tiers": {"a": {"*m": {}}}}, r"service_tiers.a.\*m: a model's name"),
        ({"default_service_tier": {"a": "auto"}}, r"default_service_tier.a: is the standard"),
        ({"default_service_tier": {"a": 1}}, r"default_service_tier.a: must be a tier's name"),
    ],
)
def test_a_bad_multiplier_is_refused_by_its_name(document: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        price_file.parse(document)


def test_a_part_without_a_rate_costs_what_it_is_part_of() -> None:
    entry = {"per_million_tokens": {"input": "2", "output": "8"}}
    cached = _total(entry, input_tokens=100, cache_read_tokens=90, input_audio_tokens=5)
    assert cached == _total(entry, input_tokens=100) == 2_000_000
    assert _total(entry, output_tokens=10, reasoning_tokens=4) == _total(entry, output_tokens=10)


def test_a_part_with_a_rate_is_priced_apart() -> None:
    entry = {
        "per_million_tokens": {
            "input": "2",
            "cache_read": "0.2",
            "cache_write": "2.5",
            "cache_write_1h": "4",
            "input_audio": "20",
            "output": "8",
            "reasoning": "6",
            "output_image": "30",
        }
    }
    cost = _total(
        entry,
        input_tokens=100,
        cache_read_tokens=10,
        cache_write_tokens=20,
        cache_write_1h_tokens=5,
        input_audio_tokens=30,
        output_tokens=50,
        reasoning_tokens=10,
        output_image_tokens=20,
    )
    into = 40 * 20_000 + 10 * 2_000 + 15 * 25_000 + 5 * 40_000 + 30 * 200_000
    assert cost == into + 20 * 80_000 + 10 * 60_000 + 20 * 300_000


def test_above_a_tier_every_token_costs_the_tiers_price() -> None:
    entry = {
        "per_million_tokens": {"input": "1", "output": "2"},
        "tiers": [{"above_input_tokens": 1000, "per_million_tokens": {"input": "3"}}],
    }
    assert _total(entry, input_tokens=1000, output_tokens=1) == 10_000_000 + 20_000
    assert _total(entry, input_tokens=1001, output_tokens=1) == 30_030_000 + 20_000


def test_a_rate_is_read_digit_by_digit() -> None:
    parsed = json.loads('{"per_million_tokens": {"input": 0.1}}', parse_float=str)
    assert _total(parsed, input_tokens=3) == 3_000
    assert _total({"per_million_tokens": {"input": "0.00005"}}, input_tokens=1) == 0
    assert _total({"per_million_tokens": {"input": "0.00015"}}, input_tokens=1) == 2
    assert _total({"per_million_tokens": {"input": "0.00005"}}, input_tokens=3) == 2


def test_an_exact_name_is_preferred_then_the_longest_prefix() -> None:
    file = price_file.parse(
        {
            "providers": {
                "acme": {
                    "Big-*": {"per_request": "1"},
                    "big-model-*": {"per_request": "2"},
                    "big-model-x": {"per_request": "3"},
                }
            }
        }
    )

    def fee(name: str) -> int:
        found = file.find("acme", name)
        return rates.cost(found.rates, Usage()).total // 10**10 if found else 0

    assert [fee(n) for n in ("BIG-MODEL-X", "big-model-y", "big-z", "small")] == [3, 2, 1, 0]
    assert file.find("other", "big-z") is None


def test_limits_come_with_the_model() -> None:
    found = _model(context_window=1000, max_output=50)
    assert (found.context_window, found.max_output) == (1000, 50)


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"per_million_token": {}}, "providers.acme.m.per_million_token:"),
        ({"per_million_tokens": {"inputs": "1"}}, "m.per_million_tokens.inputs:"),
        ({"per_million_tokens": {"input": "-1"}}, "m.per_million_tokens.input:"),
        ({"per_million_tokens": {"input": "1,5"}}, "m.per_million_tokens.input:"),
        ({"per_million_tokens": {"input": True}}, "m.per_million_tokens.input:"),
        ({"per_million_tokens": {"input": None}}, "m.per_million_tokens.input:"),
        ({"per_million_tokens": {"input": "9" * 30}}, "m.per_million_tokens.input:"),
        ({"per_million_tokens": ["1"]}, "m.per_million_tokens:"),
        ({"per_request": "NaN"}, "m.per_request:"),
        ({"per_second": {"audio": "1"}}, "m.per_second.audio:"),
        ({"context_window": 0}, "m.context_window:"),
        ({"max_output": "many"}, "m.max_output:"),
        ({"tiers": {}}, "m.tiers:"),
        ({"tiers": [{"per_million_tokens": {}}]}, "m.tiers[0].above_input_tokens:"),
        (
            {
                "per_million_tokens": {"input": "1"},
                "tiers": [
                    {"above_input_tokens": 5, "per_million_tokens": {"input": "2"}},
                    {"above_input_tokens": 5, "per_million_tokens": {"input": "3"}},
                ],
            },
            "m.tiers[1].above_input_tokens:",
        ),
        (
            {"tiers": [{"above_input_tokens": 5, "per_million_tokens": {"output": "2"}}]},
            "m.tiers: output",
        ),
        ("0.5", "providers.acme.m:"),
    ],
)
def test_a_bad_entry_is_refused_by_its_place(entry: object, place: str) -> None:
    with pytest.raises(ValueError, match="providers") as refused:
        price_file.parse({"providers": {"acme": {"m": entry}}})
    assert place in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("[]", "the file: must be an object"),
        ("{}", "providers: must be an object"),
        ('{"providers": {}, "version": 2}', "the file.version: is not known here"),
        ('{"providers": {"acme": []}}', "providers.acme: must be an object"),
        ('{"providers": {"acme": {"": {}}}}', "may have a '*' at its end alone"),
        ('{"providers": {"acme": {"a*b": {}}}}', "may have a '*' at its end alone"),
        ('{"providers": {"acme": {"A": {}, "a": {}}}}', "is there twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_file_is_refused_by_its_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"prices\.json: ") as refused:
        PriceBook(path)
    assert says in str(refused.value)


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json: No such file"):
        PriceBook(tmp_path / "nowhere.json")

"""The operator's commands on stored provider keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lava_grpc.cli import app
from tests.integration.provider_keys.keys import NEW_KEY, OLD_KEY, SECRET
from tests.support.process import command, environment, init

ROTATED = "sk-merchant-rotated-9876-wxyz"


@dataclass
class Operator:
    """Somebody who runs commands on one database, with one merchant in it."""

    url: str
    merchant_id: str = ""

    def __post_init__(self) -> None:
        made = CliRunner().invoke(app, ["init", "--json"], env=environment(database_url=self.url))
        self.merchant_id = json.loads(made.stdout)["merchant_id"]

    def runs(
        self, *arguments: str, keys: str = OLD_KEY, typed: str = "", whose: bool = True
    ) -> Result:
        """Run a command of `provider-keys`; no secret is in what it prints."""
        env = environment(database_url=self.url, key_encryption_keys=keys)
        more = ["--merchant", self.merchant_id] if whose else []
        done = CliRunner().invoke(app, ["provider-keys", *arguments, *more], input=typed, env=env)
        for secret in (SECRET, ROTATED, OLD_KEY, NEW_KEY):
            assert secret not in done.output
        return done

    def told(self, *arguments: str, **how: Any) -> Any:  # noqa: ANN401 - JSON
        """What a command that succeeds prints."""
        done = self.runs(*arguments, **how)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


def test_a_key_is_stored_listed_rotated_and_deleted(database_url: str) -> None:
    operator = Operator(database_url)
    options = ("--provider", "openai", "--weight", "3", "--json")
    made = operator.told("create", *options, typed=SECRET + "\n")
    assert (made["preview"], made["weight"], made["status"]) == ("sk-…abcd", 3, "active")
    assert operator.told("list") == made
    rotated = operator.told("rotate", made["provider_key_id"], "--json", typed=ROTATED)
    assert rotated["preview"] == "sk-…wxyz"
    assert operator.runs("delete", made["provider_key_id"]).exit_code == 0
    assert operator.runs("list").stdout == ""


def test_keys_move_to_the_newest_encryption_key(database_url: str) -> None:
    operator = Operator(database_url)
    for _ in range(2):
        assert operator.runs("create", "--provider", "openai", typed=SECRET).exit_code == 0
    move = ("reencrypt", "--json")
    moved = operator.told(*move, keys=f"{NEW_KEY},{OLD_KEY}", whose=False)
    assert moved == {"reencrypted": 2, "unreadable": []}
    # Now the old one can go: nothing is left under it.
    again = operator.told(*move, keys=NEW_KEY, whose=False)
    assert again == {"reencrypted": 0, "unreadable": []}
    lost = operator.runs(*move, keys=OLD_KEY, whose=False)
    assert lost.exit_code == 1
    assert len(json.loads(lost.stdout)["unreadable"]) == 2


@pytest.mark.parametrize(
    ("arguments", "keys", "typed", "told"),
    [
        (("create", "--provider", "openai"), "", SECRET, "LAVA_KEY_ENCRYPTION_KEYS is not set"),
        (("create", "--provider", "nobody"), OLD_KEY, SECRET, "provider"),
        (("create", "--provider", "openai"), OLD_KEY, "", "key must have"),
        (("reencrypt",), "", "", "LAVA_KEY_ENCRYPTION_KEYS is not set"),
        (("delete", "pvk_none"), OLD_KEY, "", "pvk_none"),
        (("list",), SECRET, "", "LAVA_KEY_ENCRYPTION_KEYS"),
    ],
)
def test_what_is_wrong_is_named(
    sqlite_url: str, arguments: tuple[str, ...], keys: str, typed: str, told: str
) -> None:
    whose = arguments[0] != "reencrypt"
    done = Operator(sqlite_url).runs(*arguments, keys=keys, typed=typed, whose=whose)
    assert (done.exit_code, told in done.stderr) == (2, True), done.output


async def test_the_secret_comes_on_standard_input(sqlite_url: str) -> None:
    merchant = (await init(sqlite_url)).merchant_id
    env = environment(database_url=sqlite_url, key_encryption_keys=OLD_KEY)
    create = ("provider-keys", "create", "--merchant", merchant, "--provider", "openai", "--json")
    done = await command(*create, env=env, typed=SECRET + "\n")
    assert (done.code, json.loads(done.out)["preview"]) == (0, "sk-…abcd"), done

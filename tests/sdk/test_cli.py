"""The operator's commands, run as an operator runs them."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import grpc.aio
import pytest
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import gateway_service_pb2 as gateway
from sqlalchemy import create_engine, inspect, update

from lava_grpc import __version__
from lava_grpc.store import schema
from lava_grpc.store.migrations import pending
from tests.conftest import MakePostgres
from tests.support.process import Caller, Finished, calling, command, environment, init, serving

CREATE = "CustomerService/CreateCustomer"


async def on(database_url: str, *arguments: str) -> Finished:
    """Run a command on a database."""
    return await command(*arguments, env=environment(database_url=database_url))


async def told(database_url: str, *arguments: str) -> list[dict[str, str]]:
    """What a command that succeeds prints: a JSON object a line."""
    done = await on(database_url, *arguments)
    assert done.code == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


async def test_version_is_the_package_s() -> None:
    assert await command("version") == Finished(0, f"{__version__}\n", "")


async def test_a_merchants_hold_policy_is_set_and_taken_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    merchant = await init(url)
    for policy in ("expected", "upper_bound", "default"):
        made = await told(url, "hold-policy", policy, "--merchant", merchant.merchant_id, "--json")
        assert made == [{"merchant_id": merchant.merchant_id, "hold_policy": policy}]
    bad = await on(url, "hold-policy", "small", "--merchant", merchant.merchant_id)
    assert (bad.code, "upper_bound" in bad.err) == (2, True)
    missing = await on(url, "hold-policy", "expected", "--merchant", "mer_none")
    assert (missing.code, "NOT_FOUND" in missing.err) == (2, True)


async def test_init_makes_an_empty_database_ready_and_its_key_works(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    done = await on(url, "init", "--test")
    assert done.code == 0
    facts = dict(line.split() for line in done.out.splitlines())
    assert facts["merchant_id"].startswith("mer_test_")
    assert "not shown again" in done.err
    assert facts["secret_key"] not in done.err
    # A second merchant in the same database, for a program to read.
    second = await init(url)
    assert second.merchant_id != facts["merchant_id"]
    async with serving(url) as server, calling(server.grpc_address, second) as caller:
        made = await caller.call(
            "CustomerService/CreateCustomer", customers.CreateCustomerRequest()
        )
        assert made.customer.customer_id.startswith("con_")
        assert facts["secret_key"] not in server.log
        assert second.secret_key not in server.log
        assert await server.terminate() == 0


async def test_credit_is_granted_and_the_books_are_verified(database_url: str) -> None:
    merchant = await init(database_url, wallet_limit="0")
    mine = ("--merchant", merchant.merchant_id)
    async with serving(database_url) as server, calling(server.grpc_address, merchant) as caller:
        made = await caller.call(
            "CustomerService/CreateCustomer", customers.CreateCustomerRequest(reference_id="ada")
        )
    once = ("grant", "12.5", *mine, "--customer", "ada", "--request-id", "g1", "--json")
    [first], [again] = await told(database_url, *once), await told(database_url, *once)
    assert first == again
    assert first["account_id"] == made.customer.customer_id
    assert first["amount"] == "12.5000000000"
    [wallet] = await told(database_url, "grant", "3", *mine, "--json")
    assert wallet["account_id"] == merchant.merchant_id
    verified = await on(database_url, "verify")
    assert (verified.code, verified.out) == (
        0,
        "verify: clean (2 accounts, 2 entries, 0 holds)\n",
    )


async def test_verify_exits_1_and_names_the_row_that_is_wrong(database_url: str) -> None:
    merchant = await init(database_url)
    [grant] = await told(database_url, "grant", "3", "--merchant", merchant.merchant_id, "--json")
    engine = create_engine(database_url)
    row = schema.grants.c.grant_id == grant["grant_id"]
    with engine.begin() as connection:
        connection.execute(update(schema.grants).where(row).values(remaining=1))
    engine.dispose()
    done = await on(database_url, "verify")
    assert done.code == 1
    assert grant["grant_id"] in done.out
    assert "findings (1 accounts" in done.out
    done = await on(database_url, "verify", "--json", "--merchant", merchant.merchant_id)
    assert done.code == 1
    report = json.loads(done.out)
    assert not report["ok"]
    assert grant["grant_id"] in {finding["ident"] for finding in report["findings"]}


async def test_keys_are_made_listed_and_revoked(sqlite_url: str) -> None:
    merchant = await init(sqlite_url)
    mine = ("--merchant", merchant.merchant_id)
    [made] = await told(sqlite_url, "keys", "create", *mine, "--name", "ci", "--json")
    listed = await told(sqlite_url, "keys", "list", *mine)
    assert {key["name"] for key in listed} == {"first key", "ci"}
    assert made["secret_key"] not in json.dumps(listed)
    assert (await on(sqlite_url, "keys", "revoke", *mine, made["secret_key_id"])).code == 0
    [left] = await told(sqlite_url, "keys", "list", *mine)
    assert left["name"] == "first key"
    async with serving(sqlite_url) as server, calling(server.grpc_address, merchant) as caller:
        stranger = Caller(caller.channel, type(merchant)(merchant.merchant_id, made["secret_key"]))
        await caller.call("CustomerService/ListCustomers", customers.ListCustomersRequest())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stranger.call("CustomerService/ListCustomers", customers.ListCustomersRequest())
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_does_not_exist_is_named(sqlite_url: str) -> None:
    merchant = await init(sqlite_url)
    for arguments, name in (
        (("grant", "1", "--merchant", "mer_nobody"), "mer_nobody"),
        (("grant", "1", "--merchant", merchant.merchant_id, "--customer", "con_x"), "con_x"),
        (("grant", "much", "--merchant", merchant.merchant_id), "amount"),
        (("keys", "revoke", "--merchant", merchant.merchant_id, "sk_x"), "sk_x"),
        (("init", "--wallet-limit", "much"), "wallet_limit"),
    ):
        done = await on(sqlite_url, *arguments)
        assert done.code == 2, done
        assert name in done.err
        assert "Traceback" not in done.err


async def test_two_processes_migrate_one_new_database_at_once(make_postgres: MakePostgres) -> None:
    postgres = make_postgres(fsync=False)
    fresh = postgres.url(postgres.create_database())
    both = await asyncio.gather(on(fresh, "migrate"), on(fresh, "migrate"))
    assert [(done.code, done.err) for done in both] == [(0, "")] * 2
    engine = create_engine(fresh)
    with engine.connect() as connection:
        assert not pending(connection)
        assert set(schema.metadata.tables) <= set(inspect(connection).get_table_names())
    engine.dispose()


async def test_a_wrong_setting_is_named_and_its_value_is_not_shown(tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty.pem", tmp_path / "broken.toml"
    empty.touch()
    broken.write_text("grpc_address = [", encoding="ascii")
    url = f"sqlite:///{tmp_path / 'lava.db'}"
    tls = {"tls_certificate": str(empty), "tls_key": str(empty)}
    for settings, name in (
        ({"provider_keys": {"openai": ["sk-hidden"]}}, "LAVA_PROVIDER_KEYS"),
        ({"database_url": "postgresql://ada:sk-hidden@host:port/x"}, "LAVA_DATABASE_URL"),
        ({"prices_file": str(tmp_path / "none.json")}, "LAVA_PRICES_FILE"),
        ({"config_file": str(broken)}, "LAVA_CONFIG_FILE"),
        ({"tls_certificate": str(empty), "tls_key": "none.pem"}, "LAVA_TLS_KEY"),
        (tls, "LAVA_TLS_CERTIFICATE"),
    ):
        loopback = {"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0"}
        env = environment(**{"database_url": url, **loopback, **settings})
        done = await command("serve", env=env)
        assert (done.code, done.out) == (2, ""), done
        assert name in done.err
        assert "sk-hidden" not in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize("setting", ["grpc_address", "http_address"])
async def test_an_address_that_is_taken_is_named(sqlite_url: str, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = {"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0"}
        env = environment(database_url=sqlite_url, **{**free, setting: address})
        done = await command("serve", env=env)
    assert done.code == 2
    assert f"LAVA_{setting.upper()}: cannot listen" in done.err


async def test_flags_win_over_the_environment_and_it_over_the_file(
    sqlite_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "lava.toml"
    file.write_text('database_url = "sqlite:////nowhere/file.db"\n', encoding="utf-8")
    env = environment(config_file=str(file))
    assert "LAVA_DATABASE_URL" in (await command("verify", env=env)).err
    env |= {"LAVA_DATABASE_URL": sqlite_url}
    assert (await command("verify", env=env)).code == 0
    done = await command("verify", "--database-url", "sqlite:////nowhere/flag.db", env=env)
    assert done.code == 2


async def test_a_day_with_a_server(sqlite_url: str) -> None:
    merchant = await init(sqlite_url)
    async with serving(sqlite_url) as server, calling(server.grpc_address, merchant) as caller:
        made = await caller.call(
            "CustomerService/CreateCustomer", customers.CreateCustomerRequest()
        )
        ident = made.customer.customer_id
        # While it serves, an operator grants and verifies beside it.
        await told(
            sqlite_url,
            *("grant", "2", "--merchant", merchant.merchant_id, "--customer", ident, "--json"),
        )
        await caller.call(
            "GatewayService/Authorize",
            gateway.AuthorizeRequest(customer_id=ident, amount="1.5", request_id="r1"),
        )
        await caller.call(
            "GatewayService/ReportUsage",
            gateway.ReportUsageRequest(customer_id=ident, amount="1.25", request_id="r1"),
        )
        left = await caller.call(
            "CreditService/GetBalance", credit.GetBalanceRequest(customer_id=ident)
        )
        assert left.balance.balance == "0.7500000000"
        assert (await on(sqlite_url, "verify")).code == 0

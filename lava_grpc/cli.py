"""The operator's commands."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
import uvloop
from rich.console import Console

from lava_grpc import __version__, config
from lava_grpc.app.office import Office, open_office
from lava_grpc.app.parts import migrate as migrate_database
from lava_grpc.app.provider_keys import KeyOffice, open_key_office
from lava_grpc.app.service import Addresses, Service
from lava_grpc.app.workers import serve_workers
from lava_grpc.core.errors import Refusal
from lava_grpc.gateway.provider_keys import NewProviderKey
from lava_grpc.telemetry import logs

app = typer.Typer(
    name="lava-grpc",
    help="A self-hosted credit gateway: reserve credit before a metered call, settle after.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
keys = typer.Typer(help="A merchant's secret keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")
db = typer.Typer(help="A large database: its parts and its nodes.", no_args_is_help=True)
app.add_typer(db, name="db")
provider_keys = typer.Typer(
    help="A merchant's own provider keys, encrypted with LAVA_KEY_ENCRYPTION_KEYS.",
    no_args_is_help=True,
)
app.add_typer(provider_keys, name="provider-keys")

T = TypeVar("T")

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="sqlite:///path, or postgresql://user:password@host/name [LAVA_DATABASE_URL]"
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="a TOML file of settings", envvar="LAVA_CONFIG_FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one line of JSON")]
MerchantId = Annotated[str, typer.Option("--merchant", help="the merchant's id")]


@app.command()
def init(
    name: Annotated[str, typer.Option(help="the merchant's name")] = "merchant",
    test: Annotated[bool, typer.Option(help="ids and keys in test mode")] = False,
    wallet_limit: Annotated[
        str,
        typer.Option(
            help="how far the merchant's own wallet, which pays what the platform's provider keys "
            "cost, may go past its credit: an amount, or unlimited"
        ),
    ] = "unlimited",
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the database ready, and a merchant with a secret key."""
    settings = _settings(config_file, database_url=database_url)
    made = _in_office(
        settings,
        lambda office: office.add_merchant(name, test_mode=test, wallet_limit=wallet_limit),
    )
    _print(asdict(made), as_json=as_json)
    if not as_json:
        Console(stderr=True).print("Keep the secret key: it is not shown again.")


@app.command()
def migrate(database_url: DatabaseUrl = None, config_file: ConfigFile = None) -> None:
    """Bring the database to the newest schema."""
    settings = _settings(config_file, database_url=database_url)
    try:
        migrate_database(settings)
    except config.ConfigError as error:
        _fail(str(error))


@app.command()
def serve(
    grpc_address: Annotated[
        str | None, typer.Option(help="host:port for gRPC [LAVA_GRPC_ADDRESS]")
    ] = None,
    http_address: Annotated[
        str | None, typer.Option(help="host:port for REST, empty for none [LAVA_HTTP_ADDRESS]")
    ] = None,
    database_url: DatabaseUrl = None,
    workers: Annotated[
        int | None,
        typer.Option(help="server processes on one port; PostgreSQL only [LAVA_WORKERS]"),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error [LAVA_LOG_LEVEL]")
    ] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM file: callers must show a certificate of it")
    ] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Serve gRPC and REST until told to stop (SIGTERM, Ctrl-C)."""
    settings = _settings(
        config_file,
        grpc_address=grpc_address,
        http_address=http_address,
        database_url=database_url,
        workers=workers,
        log_level=log_level,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
    )
    logs.configure(level=settings.log_level, as_json=settings.log_json)

    def ready(addresses: Addresses) -> None:
        _print(asdict(addresses), as_json=as_json)

    serving = serve_workers if settings.workers > 1 else Service.serve
    # The server's loop is libuv's: about a tenth less processor time for a call.
    healthy = _run(serving(settings, ready), uvloop.run)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def verify(
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
    merchant: Annotated[str | None, typer.Option(help="only this merchant's books")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that the books balance; exits 1 and names each row that breaks a rule."""
    settings = _settings(config_file, database_url=database_url)
    report = _in_office(settings, lambda office: office.verify(merchant))
    if as_json:
        _print({"ok": not report.findings, **asdict(report)}, as_json=True)
    else:
        for found in report.findings:
            typer.echo(f"{found.rule}: {found.kind} {found.ident}: {found.detail}")
        verdict = f"{len(report.findings)} findings" if report.findings else "clean"
        typer.echo(
            f"verify: {verdict} ({report.accounts_checked} accounts, "
            f"{report.entries_checked} entries, {report.holds_checked} holds)"
        )
    raise typer.Exit(1 if report.findings else 0)


@app.command()
def grant(
    amount: Annotated[str, typer.Argument(help="a decimal amount")],
    merchant: MerchantId,
    customer: Annotated[
        str | None, typer.Option(help="id or reference id; the merchant's wallet without one")
    ] = None,
    request_id: Annotated[str | None, typer.Option(help="granted once for each id")] = None,
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put credit on a customer's account, or on the merchant's wallet."""
    settings = _settings(config_file, database_url=database_url)
    made = _in_office(settings, lambda office: office.grant(merchant, customer, amount, request_id))
    _print(made, as_json=as_json)


@app.command("hold-policy")
def hold_policy(
    policy: Annotated[
        str, typer.Argument(help="upper_bound, expected, or default: as LAVA_HOLD_POLICY says")
    ],
    merchant: MerchantId,
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Set how much is held for a merchant's calls unless a call says otherwise."""
    settings = _settings(config_file, database_url=database_url)
    _print(
        _in_office(settings, lambda office: office.set_hold_policy(merchant, policy)),
        as_json=as_json,
    )


@keys.command("create")
def create_key(
    merchant: MerchantId,
    name: Annotated[str, typer.Option(help="what it is for")] = "key",
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a further secret key."""
    settings = _settings(config_file, database_url=database_url)
    made = _in_office(settings, lambda office: office.create_key(merchant, name))
    _print(made, as_json=as_json)


@keys.command("list")
def list_keys(
    merchant: MerchantId, database_url: DatabaseUrl = None, config_file: ConfigFile = None
) -> None:
    """List keys, one line of JSON each."""
    settings = _settings(config_file, database_url=database_url)
    for key in _in_office(settings, lambda office: office.list_keys(merchant)):
        _print(key, as_json=True)


@keys.command("revoke")
def revoke_key(
    merchant: MerchantId,
    secret_key_id: Annotated[str, typer.Argument(help="sk_…")],
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
) -> None:
    """Revoke a key for good."""
    settings = _settings(config_file, database_url=database_url)
    _in_office(settings, lambda office: office.revoke_key(merchant, secret_key_id))


@provider_keys.command("create")
def create_provider_key(
    merchant: MerchantId,
    provider: Annotated[str, typer.Option(help="a provider's id, or one host")],
    name: Annotated[str, typer.Option(help="what it is for")] = "key",
    weight: Annotated[int, typer.Option(help="its share among several for one provider")] = 1,
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Store a provider key; its secret is read from standard input, or asked for."""
    settings = _settings(config_file, database_url=database_url)
    new = NewProviderKey(name, provider, _secret(), weight)
    made = _in_key_office(settings, lambda office: office.create(merchant, new))
    _print(made, as_json=as_json)


@provider_keys.command("list")
def list_provider_keys(
    merchant: MerchantId, database_url: DatabaseUrl = None, config_file: ConfigFile = None
) -> None:
    """List provider keys without their secrets, one line of JSON each."""
    settings = _settings(config_file, database_url=database_url)
    for key in _in_key_office(settings, lambda office: office.list(merchant)):
        _print(key, as_json=True)


@provider_keys.command("rotate")
def rotate_provider_key(
    merchant: MerchantId,
    provider_key_id: Annotated[str, typer.Argument(help="pvk_…")],
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Replace a provider key's secret, which is read as by create."""
    settings = _settings(config_file, database_url=database_url)
    secret = _secret()
    key = _in_key_office(settings, lambda office: office.rotate(merchant, provider_key_id, secret))
    _print(key, as_json=as_json)


@provider_keys.command("delete")
def delete_provider_key(
    merchant: MerchantId,
    provider_key_id: Annotated[str, typer.Argument(help="pvk_…")],
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
) -> None:
    """Delete a provider key and its secret."""
    settings = _settings(config_file, database_url=database_url)
    _in_key_office(settings, lambda office: office.delete(merchant, provider_key_id))


@provider_keys.command("reencrypt")
def reencrypt_provider_keys(
    database_url: DatabaseUrl = None, config_file: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Move all merchants' keys to the first of LAVA_KEY_ENCRYPTION_KEYS.

    Exits 1 and names the keys that none of them decrypts; those stay as they are.
    """
    settings = _settings(config_file, database_url=database_url)
    done = _in_key_office(settings, lambda office: office.keys.reencrypt())
    unreadable = list(done.unreadable)
    _print({"reencrypted": done.reencrypted, "unreadable": unreadable}, as_json=as_json)
    raise typer.Exit(1 if unreadable else 0)


@db.command("partition")
def partition(
    months: Annotated[int, typer.Option(help="how many months to make parts for")] = 12,
    dry_run: Annotated[bool, typer.Option(help="print the statements and run none")] = False,
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
) -> None:
    """Part the table of entries by month (PostgreSQL), or add the months to come."""
    settings = _settings(config_file, database_url=database_url)
    run = _in_office(settings, lambda office: office.partition(months, dry_run=dry_run))
    for statement in run:
        typer.echo(f"{statement};")


@db.command("distribute")
def distribute(
    dry_run: Annotated[bool, typer.Option(help="print the statements and run none")] = False,
    database_url: DatabaseUrl = None,
    config_file: ConfigFile = None,
) -> None:
    """Spread the tables over the nodes of a Citus cluster, by merchant."""
    settings = _settings(config_file, database_url=database_url)
    run = _in_office(settings, lambda office: office.distribute(dry_run=dry_run))
    for statement in run:
        typer.echo(f"{statement};")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _settings(file: Path | None, **flags: Any) -> config.Settings:
    try:
        return config.load(flags, file=file)
    except config.ConfigError as error:
        _fail(str(error))


def _in_office(settings: config.Settings, work: Callable[[Office], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_office(settings) as office:
            return await work(office)

    return _run(run())


def _in_key_office(settings: config.Settings, work: Callable[[KeyOffice], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_key_office(settings) as office:
            return await work(office)

    return _run(run())


def _secret() -> str:
    """A secret from standard input, or typed unseen; never from the command line."""
    if sys.stdin.isatty():
        typed: str = typer.prompt("Secret", hide_input=True, err=True)
        return typed.strip()
    return sys.stdin.read().strip()


def _run(
    work: Coroutine[Any, Any, T], runner: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run
) -> T:
    try:
        return runner(work)
    except Refusal as refusal:
        _fail(f"{refusal.reason.value}: {refusal.message}")
    except config.ConfigError as error:
        _fail(str(error))


def _print(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        width = max(len(name) for name in facts)
        for name, value in facts.items():
            typer.echo(f"{name:<{width}}  {value}")
    # Whoever started us may wait for this line on a pipe.
    sys.stdout.flush()


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()

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
from rich.console import Console

from lava_grpc import __version__, config
from lava_grpc.app.office import Office, open_office
from lava_grpc.app.parts import migrate as migrate_database
from lava_grpc.app.service import Addresses, Service
from lava_grpc.app.workers import serve_workers
from lava_grpc.core.errors import Refusal
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
    healthy = _run(serving(settings, ready))
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


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
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

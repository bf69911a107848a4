"""Parts that a server and the operator's commands have in common."""

from __future__ import annotations

from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lava_grpc import config
from lava_grpc.providers.provider import Family
from lava_grpc.providers.registry import CompatibleHost, Registry
from lava_grpc.store import migrations
from lava_grpc.store.database import Database


def open_database(settings: config.Settings) -> Database:
    """The database that the settings name; raises ConfigError for one that cannot be used."""
    try:
        return Database(
            settings.database_url,
            connections_max=settings.database_connections_max,
            prepare=settings.database_prepare,
        )
    except (ValueError, ArgumentError):
        raise _unreadable() from None


def migrate(settings: config.Settings) -> None:
    """Bring the database to the newest schema; raises ConfigError where it cannot be reached."""
    try:
        migrations.upgrade(settings.database_url, prepare=settings.database_prepare)
    except (ValueError, ArgumentError):
        raise _unreadable() from None
    except SQLAlchemyError as error:
        # The driver's own words name no password.
        cause = getattr(error, "orig", None) or error
        raise config.ConfigError(f"LAVA_DATABASE_URL: {cause}") from None


def registry_of(settings: config.Settings) -> Registry:
    """The built-in providers, and the hosts that the settings add."""
    added = {
        host: CompatibleHost(
            family=Family(rule.family.value),
            id=rule.id,
            price_provider=rule.price_provider,
            asks_usage=rule.asks_usage,
        )
        for host, rule in settings.compatible_hosts.items()
    }
    return Registry().with_hosts(added)


def _unreadable() -> config.ConfigError:
    # Of a URL that cannot be read, any part may be the password: none is shown.
    return config.ConfigError(
        "LAVA_DATABASE_URL: must be sqlite:///path or postgresql://user:password@host:port/name, "
        "with special characters in user and password percent-encoded"
    )

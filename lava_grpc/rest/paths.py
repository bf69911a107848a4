"""The paths of the service about itself."""

from typing import Final

HEALTH_PATH: Final = "/healthz"
OPENAPI_PATH: Final = "/openapi.json"
DOCS_PATH: Final = "/docs"

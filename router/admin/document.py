"""The admin API's description: OpenAPI 3.1, complete enough that tests are generated from it.

python -m router.admin.document docs/admin-openapi.json      # after a change that is meant
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from router.admin.gate import OPEN

VERSION = "1"
_ABOUT = """\
For the platform team: tenants, keys, aliases, versions and engines. Works on the registry; routers
see a change within a second. Every path but `/health` and `/openapi.json` needs the admin key.
"""
_REQUEST_ID = {
    "description": "Leads to the request in the log.",
    "schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
}
_RETRY_AFTER = {"description": "Seconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}


def describe(app: FastAPI) -> None:
    """Have `app` serve the whole description at /openapi.json."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _complete(
                get_openapi(title=app.title, version=VERSION, description=_ABOUT, routes=app.routes)
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def rendered(document: dict[str, Any]) -> str:
    """The description as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """What FastAPI leaves out (keys, headers), without what never happens here (its own 422)."""
    components = document["components"]
    refusals: dict[str, Any] = {}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["operationId"] = _short(operation["operationId"])
            if path in OPEN:
                operation["security"] = []
            for status, response in operation["responses"].items():
                response["headers"] = {"x-request-id": _REQUEST_ID}
                if status == "503":
                    response["headers"]["retry-after"] = _RETRY_AFTER
            for status in [s for s in operation["responses"] if s >= "400"]:
                response = operation["responses"].pop(status)
                if status != "422" and not (status == "401" and path in OPEN):
                    refusals[f"Answer{status}"] = response
                    name = f"#/components/responses/Answer{status}"
                    operation["responses"][status] = {"$ref": name}
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["responses"] = dict(sorted(refusals.items()))
    for schema in components["schemas"].values():
        for field in schema.get("properties", {}).values():
            field.pop("title", None)  # it only says the field's name again
    components["securitySchemes"] = {
        "adminKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "SWITCHYARD_ROUTER_ADMIN_KEY.",
        }
    }
    document["security"] = [{"adminKey": []}]
    return document


def _short(operation_id: str) -> str:
    """FastAPI's own are the function's name with the path behind it."""
    return operation_id.partition("_v1_")[0].partition("_health_")[0]


def main(target: Path) -> None:
    """Write the description."""
    from registry import Registry
    from registry.database import Database
    from registry.store import Store
    from router.admin.app import create_admin

    nowhere = Registry(Database("sqlite://"), Store("memory://"))
    app = create_admin("opens nothing here", nowhere)
    target.write_text(rendered(app.openapi()), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

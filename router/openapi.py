"""The words that the tenants' API is described in: operations, refusals, closed objects. Pure.

Knows OpenAPI 3.1 and the statuses; nothing about any path.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

STATUSES = {
    "400": "The request can't be served as it is.",
    "401": "No key, or one that opens nothing.",
    "403": "The model's engine has no such endpoint.",
    "404": "No such thing for this tenant.",
    "405": "The path is there, with another method.",
    "408": "The body took too long to arrive.",
    "409": "What is there doesn't allow it now.",
    "413": "The body is too large.",
    "415": "The body is packed.",
    "422": "The engine refused the request.",
    "429": "Over one of the tenant's limits.",
    "431": "The headers are too large.",
    "500": "A bug of the server's.",
    "502": "The engine failed.",
    "503": "Not at the moment; `retry-after` says when to come back.",
}
READING = ("400", "401", "404", "431", "500")
_REQUEST_ID: Json = {
    "description": "Leads to the request in the log.",
    "schema": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
}


def operation(name: str, summary: str, good: Json, statuses: tuple[str, ...] = READING) -> Json:
    """One method of a path: `good` is what 200 has, by content type; `statuses` are refusals."""
    answer = {"description": "Done.", "headers": {"x-request-id": _REQUEST_ID}, "content": good}
    refusals = {status: refusal(status) for status in statuses}
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **refusals}}


def body(schema: Json) -> Json:
    """A JSON body that has to be there."""
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def content(schema: str) -> Json:
    """JSON of a named schema."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def refusal(status: str) -> Json:
    """A status of STATUSES, by reference."""
    return {"$ref": f"#/components/responses/Answer{status}"}


def answer_of(status: str) -> Json:
    """What `refusal` refers to."""
    return {
        "description": STATUSES[status],
        "headers": {"x-request-id": _REQUEST_ID},
        "content": content("Error"),
    }


def closed(properties: Json) -> Json:
    """An object with these keys, all of them, and no others."""
    return {
        "type": "object",
        "required": [*properties],
        "additionalProperties": False,
        "properties": properties,
    }

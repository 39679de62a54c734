"""The tenants' API described: OpenAPI 3.1, made from the code that serves it. Not served itself, as
OpenAI's isn't; docs/openapi.json is it, and a test says when that is not current.

    python -m router.description docs/openapi.json      # after a change that is meant

What a field of a completion may hold is the engine's to say: its values are described only as far
as the router itself looks at them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from router import openapi
from router.errors import ApiError
from router.fields import REFUSED
from router.kinds import CHAT, EMBEDDINGS, KINDS, Kind
from router.openapi import Json
from router.tuning import description as tuning

VERSION = "1"
_COMPLETION = ("400", "401", "403", "404", "408", "413", "415", "422", "429", "431", "500", "502")
_PROMPTS: dict[str, Json] = {
    "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}},
    "prompt": {"type": ["string", "array"], "minItems": 1},
    "input": {"type": ["string", "array"], "minItems": 1},
}
_SUMMARIES = {
    "/v1/chat/completions": "Answer a conversation",
    "/v1/completions": "Continue a text",
    "/v1/responses": "Answer, as a response object",
    "/v1/embeddings": "Make embeddings, where the engine can",
}


def describe() -> Json:
    """The whole description."""
    paths: Json = {kind.path: {"post": _completion(kind)} for kind in KINDS}
    paths["/v1/models"] = {
        "get": openapi.operation(
            "list_models", "List what `model` may be", openapi.content("ModelList")
        )
    }
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    one = openapi.operation("get_model", "Look one up", openapi.content("Model"))
    statuses = ("400", "401", "404", "409", "431", "500", "503")
    gone = openapi.operation(
        "delete_model", "Delete a fine-tuned one", openapi.content("ModelDeleted"), statuses
    )
    paths["/v1/models/{name}"] = {"parameters": [name], "get": one, "delete": gone}
    paths |= tuning.paths()
    paths["/v1/feedback"] = {"post": _feedback()}
    for path, text in (("/health", "Whether it lives"), ("/ready", "Whether to send requests")):
        probe = openapi.operation(
            path[1:], text, {"application/json": {"schema": {"type": "object"}}}
        )
        probe["security"] = []
        probe["responses"].pop("401")
        probe["responses"]["503"] = openapi.refusal("503")
        paths[path] = {"get": probe}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Switchyard", "version": VERSION, "description": _about()},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {
                f"Answer{status}": openapi.answer_of(status) for status in openapi.STATUSES
            },
            "securitySchemes": {"tenantKey": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"tenantKey": []}],
    }


def rendered() -> str:
    """The description as it is committed."""
    return json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"


def _about() -> str:
    codes, classes = set(), [ApiError]
    for cls in classes:
        if cls.__module__ == ApiError.__module__:
            classes += cls.__subclasses__()
            codes |= {cls.code} if cls.code else set()
    return (
        "OpenAI's API for a tenant's models. Every error has OpenAI's shape; codes of its own are "
        + ", ".join(f"`{code}`" for code in sorted(codes))
        + "."
    )


def _completion(kind: Kind) -> Json:
    required = [] if kind is EMBEDDINGS else [kind.prompt_field]
    properties: Json = {name: {} for name in sorted(kind.passed)}
    properties["model"] = {"type": ["string", "null"]}
    properties[kind.prompt_field] = _PROMPTS[kind.prompt_field]
    if kind.relay is not None:
        properties["stream"] = {"type": ["boolean", "null"]}
    if "n" in properties:
        properties["n"] = {"type": ["integer", "null"], "minimum": 1}
    properties |= {name: {"type": ["null"]} for name in sorted(REFUSED) if name not in properties}
    body = {"type": "object", "required": required, "properties": properties}
    good: Json = {"application/json": {"schema": {"type": "object", "required": ["model"]}}}
    if kind.relay is not None:
        good["text/event-stream"] = {"schema": {"description": "Server-sent events."}}
    name = "create_" + kind.path.removeprefix("/v1/").replace("/", "_")
    operation = openapi.operation(name, _SUMMARIES[kind.path], good, _COMPLETION)
    operation["requestBody"] = openapi.body(body)
    operation["responses"]["503"] = openapi.refusal("503")
    if kind is CHAT:
        operation["description"] = "Streamed with `stream`; ends with `data: [DONE]` when whole."
    return operation


def _feedback() -> Json:
    statuses = ("400", "401", "404", "408", "409", "413", "431", "500", "503")
    operation = openapi.operation(
        "give_feedback", "Say how an answer was", openapi.content("Feedback"), statuses
    )
    text = {"type": ["string", "null"], "maxLength": 100_000}
    properties = {
        "completion_id": {"type": "string", "minLength": 1, "maxLength": 200},
        "rating": {"type": ["number", "null"], "minimum": -1, "maximum": 1},
        "label": text,
        "correction": text,
        "messages": {"type": ["array", "null"], "minItems": 1, "items": {"type": "object"}},
    }
    operation["requestBody"] = openapi.body(
        {"type": "object", "required": ["completion_id"], "properties": properties}
    )
    return operation


def _schemas() -> Json:
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    error = {"message": text, "type": text, "param": maybe, "code": maybe}
    model = {
        "id": text,
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": text,
        "root": text,
        "parent": maybe,
    }
    said = {
        "id": text,
        "object": {"const": "feedback"},
        "created": {"type": "integer"},
        "completion_id": text,
        "rating": {"type": ["number", "null"]},
        "label": maybe,
        "correction": maybe,
        "usable": {"type": ["boolean", "null"]},
        "unusable_because": maybe,
    }
    listed = {
        "object": {"const": "list"},
        "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
    }
    return {
        "Error": openapi.closed({"error": openapi.closed(error)}),
        "Message": {"type": "object", "required": ["role"], "properties": {"role": text}},
        "Model": openapi.closed(model),
        "ModelList": openapi.closed(listed),
        "ModelDeleted": openapi.closed(
            {"id": text, "object": {"const": "model"}, "deleted": {"const": True}}
        ),
        "Feedback": openapi.closed(said),
        **tuning.schemas(),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(rendered(), encoding="utf-8")

"""`/v1/files` and `/v1/fine_tuning/jobs` described, for router.description. Pure."""

from __future__ import annotations

from router.openapi import Json, body, closed, content, operation
from router.tuning.ask import FIELDS, RANGES

_LISTING = ("400", "401", "404", "431", "500", "503")
_ONE = ("401", "404", "431", "500", "503")
_CHANGE = ("401", "404", "409", "431", "500", "503")
_TEXT: Json = {"type": "string"}
_MAYBE: Json = {"type": ["string", "null"]}
_AT: Json = {"type": "integer", "description": "Seconds since 1970."}
_MAYBE_AT: Json = {"type": ["integer", "null"], "description": "Seconds since 1970."}
_AUTO = "auto"


def paths() -> Json:
    """Every path, with its methods."""
    return {**_files(), **_jobs()}


def schemas() -> Json:
    """What the paths refer to."""
    file = {
        "id": _TEXT,
        "object": {"const": "file"},
        "bytes": {"type": "integer"},
        "created_at": _AT,
        "filename": _TEXT,
        "purpose": {"enum": ["fine-tune", "fine-tune-results"]},
        "status": {"const": "processed"},
        "status_details": {"type": "null"},
        "expires_at": {"type": "null"},
    }
    event = {
        "id": _TEXT,
        "object": {"const": "fine_tuning.job.event"},
        "created_at": _AT,
        "level": {"enum": ["info", "warn", "error"]},
        "message": _TEXT,
        "type": {"enum": ["message", "metrics"]},
        "data": {"type": ["object", "null"]},
    }
    checkpoint = {
        "id": _TEXT,
        "object": {"const": "fine_tuning.job.checkpoint"},
        "created_at": _AT,
        "fine_tuned_model_checkpoint": _TEXT,
        "fine_tuning_job_id": _TEXT,
        "metrics": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        "step_number": {"type": "integer"},
    }
    deleted = {"id": _TEXT, "object": {"const": "file"}, "deleted": {"const": True}}
    return {
        "File": closed(file),
        "FileDeleted": closed(deleted),
        "FileList": _list_of("File"),
        "Job": closed(_job()),
        "JobList": _list_of("Job"),
        "JobRequest": _request(),
        "JobEvent": closed(event),
        "JobEventList": _list_of("JobEvent"),
        "JobCheckpoint": closed(checkpoint),
        "JobCheckpointList": _list_of("JobCheckpoint"),
    }


def _files() -> Json:
    upload = operation("upload_file", "Upload rows to learn from", content("File"), _sending("415"))
    form = {
        "type": "object",
        "required": ["file", "purpose"],
        "properties": {
            "file": {"type": "string", "format": "binary", "description": "JSON Lines."},
            "purpose": {"const": "fine-tune"},
        },
    }
    upload["requestBody"] = {
        "required": True,
        "content": {"multipart/form-data": {"schema": form}},
    }
    listed = operation("list_files", "List files", content("FileList"), _LISTING)
    order = {"schema": {"enum": ["asc", "desc"]}, "description": "Oldest or newest first [desc]."}
    listed["parameters"] = [
        *_cursor(10_000),
        {"name": "order", "in": "query", **order},
        {"name": "purpose", "in": "query", "schema": _TEXT},
    ]
    whole: Json = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    gone = operation("delete_file", "Delete a file", content("FileDeleted"), _CHANGE)
    return {
        "/v1/files": {"post": upload, "get": listed},
        "/v1/files/{file_id}": {
            "parameters": [_named("file_id")],
            "get": operation("get_file", "Look a file up", content("File"), _ONE),
            "delete": gone,
        },
        "/v1/files/{file_id}/content": {
            "parameters": [_named("file_id")],
            "get": operation("get_file_content", "Read a file", whole, _ONE),
        },
    }


def _jobs() -> Json:
    root, one = "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/{job_id}"
    statuses = _sending("404", "415", "429")
    create = operation("create_job", "Fine-tune a model", content("Job"), statuses)
    create["requestBody"] = body({"$ref": "#/components/schemas/JobRequest"})
    create["parameters"] = [
        {
            **{"name": "Idempotency-Key", "in": "header"},
            "description": "A job that is asked for again with the same key is the first one.",
            "schema": _TEXT,
        }
    ]
    listed = operation("list_jobs", "List jobs, newest first", content("JobList"), _LISTING)
    metadata = {"type": "object", "additionalProperties": _TEXT}
    listed["parameters"] = [
        *_cursor(100),
        {
            **{"name": "metadata", "in": "query", "style": "deepObject", "explode": True},
            "description": "Only jobs whose metadata has these: `metadata[key]=value`; "
            "`metadata=null` is for those that have none.",
            "schema": metadata,
        },
    ]
    found: Json = {
        root: {"post": create, "get": listed},
        one: {
            "parameters": [_named("job_id")],
            "get": operation("get_job", "Look a job up", content("Job"), _ONE),
        },
    }
    for verb, text in (
        ("cancel", "End a job"),
        ("pause", "Let a job rest, with its state kept"),
        ("resume", "Let a paused job go on"),
    ):
        act = operation(f"{verb}_job", text, content("Job"), _CHANGE)
        found[f"{one}/{verb}"] = {"parameters": [_named("job_id")], "post": act}
    for noun, schema, text in (
        ("events", "JobEventList", "List a job's events, newest first"),
        ("checkpoints", "JobCheckpointList", "List checkpoints that can be used, latest first"),
    ):
        listed = operation(f"list_job_{noun}", text, content(schema), _LISTING)
        listed["parameters"] = _cursor(100)
        found[f"{one}/{noun}"] = {"parameters": [_named("job_id")], "get": listed}
    return found


def _request() -> Json:
    method = {
        "oneOf": [
            _object(type={"const": kind}, **{kind: _maybe(_object(hyperparameters=options))})
            for kind, options in (("supervised", _asked(beta=False)), ("dpo", _asked(beta=True)))
        ]
        + [{"type": "null"}]
    }
    for each in method["oneOf"][:-1]:
        each["required"] = ["type"]
    properties: Json = {
        "model": {"type": "string", "minLength": 1, "maxLength": 500},
        "training_file": {"type": "string", "minLength": 1, "maxLength": 500},
        "validation_file": {"type": ["string", "null"], "minLength": 1, "maxLength": 500},
        "method": method,
        "hyperparameters": {**_asked(beta=False), "deprecated": True},
        "suffix": {
            "type": ["string", "null"],
            "maxLength": 64,
            "pattern": "[A-Za-z0-9]",
            "description": "Becomes the adapter's name: small letters, digits and `-`.",
        },
        "seed": {"type": ["integer", "null"], "minimum": 0, "maximum": 2**31 - 1},
        "metadata": {
            "type": ["object", "null"],
            "maxProperties": 16,
            "propertyNames": {"minLength": 1, "maxLength": 64},
            "additionalProperties": {"type": "string", "maxLength": 512},
        },
        "integrations": {"type": ["array", "null"], "maxItems": 0},
    }
    assert properties.keys() == FIELDS
    return _object(**properties) | {"required": ["model", "training_file"]}


def _job() -> Json:
    said = {
        "n_epochs": _resolved("integer"),
        "batch_size": _resolved("integer"),
        "learning_rate_multiplier": _resolved("number"),
    }
    options = _object(**said, beta=_resolved("number")) | {"required": [*said]}
    within = _object(hyperparameters=options)
    method = _object(type={"enum": ["supervised", "dpo"]}, supervised=within, dpo=within)
    error = closed({"code": _TEXT, "message": _TEXT, "param": _MAYBE})
    return {
        "id": _TEXT,
        "object": {"const": "fine_tuning.job"},
        "created_at": _AT,
        "error": _maybe(error),
        "fine_tuned_model": _MAYBE,
        "finished_at": _MAYBE_AT,
        "hyperparameters": options,
        "model": _TEXT,
        "organization_id": _TEXT,
        "result_files": {"type": "array", "items": _TEXT},
        "seed": {"type": "integer"},
        "status": {
            "enum": [
                *("validating_files", "queued", "running", "paused"),
                *("succeeded", "failed", "cancelled"),
            ]
        },
        "trained_tokens": {"type": ["integer", "null"]},
        "training_file": _TEXT,
        "validation_file": _MAYBE,
        "estimated_finish": _MAYBE_AT,
        "integrations": {"type": "array", "maxItems": 0},
        "metadata": {"type": "object", "additionalProperties": _TEXT},
        "method": method | {"required": ["type"]},
        "user_provided_suffix": _MAYBE,
    }


def _asked(*, beta: bool) -> Json:
    """Hyperparameters as they may be asked for."""
    properties = {
        name: {
            "anyOf": [
                {"const": _AUTO},
                {"type": "integer" if whole else "number", "minimum": least, "maximum": most},
                {"type": "null"},
            ]
        }
        for name, (_, least, most, whole) in RANGES.items()
        if beta or name != "beta"
    }
    return _maybe(_object(**properties))


def _resolved(kind: str) -> Json:
    """A hyperparameter as it is told: "auto" until the files are validated."""
    return {"anyOf": [{"const": _AUTO}, {"type": kind}]}


def _list_of(schema: str) -> Json:
    return closed(
        {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": f"#/components/schemas/{schema}"}},
            "has_more": {"type": "boolean"},
            "first_id": _MAYBE,
            "last_id": _MAYBE,
        }
    )


def _cursor(most: int) -> list[Json]:
    limit = {"type": "integer", "minimum": 1, "maximum": most}
    after = "The id behind which the page begins."
    return [
        {"name": "after", "in": "query", "description": after, "schema": _TEXT},
        {"name": "limit", "in": "query", "schema": limit},
    ]


def _named(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _sending(*more: str) -> tuple[str, ...]:
    """Statuses of what has a body."""
    return tuple(sorted({"400", "401", "408", "413", "431", "500", "503", *more}))


def _object(**properties: Json) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _maybe(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}

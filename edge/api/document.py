"""The OpenAPI document of an API, and the page that shows it, made from its rows.

Pure: rows in, values and text out. The schemas are msgspec's, of the very types that bodies are
read and answers are written with, so that the document cannot say anything else than the code does.

May import: `edge.api.operation`, `edge.http.response`. Spec: OpenAPI 3.1.1, JSON Schema 2020-12.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from edge.api.operation import Field, Need, Operation
from edge.http.response import ERROR_CODES

OPENAPI: Final = "3.1.1"

_CREDENTIALS: Final = {
    "streamKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the stream: what its encoder publishes with.",
    },
    "adminToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The admin token, or one with the scope that the operation names.",
    },
    "chatToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "Says who somebody is in one stream's chat, and in which role.",
    },
}

_NEEDS: Final = {
    Need.ANYBODY: "anybody",
    Need.STREAM: "a key of the stream, or an admin token",
    Need.CHAT: "a chat token of the role for it, a key of the stream, or an admin token",
    Need.ADMIN: "an admin token",
}

_MEANINGS: Final = {
    400: "The body, the query or a header is malformed; the text says where.",
    401: "The credential is missing or opens nothing here.",
    403: "The credential does not go so far.",
    404: "There is no such thing.",
    409: "It does not fit what is; the code says how.",
    412: "It has changed meanwhile.",
    413: "The body is too large.",
    416: "There are no such bytes.",
    426: "Come again with the upgrade that `Upgrade` names.",
    429: "Too often; come back after `Retry-After` seconds.",
    503: "It cannot be done now; come back after `Retry-After` seconds.",
}


_BROUGHT: Final[dict[int, dict[str, Any]]] = {
    206: {"description": "The bytes that were asked for."},
    304: {"description": "It is as it was."},
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Every error: a text for people, a code for programs."""

    error: str
    code: str
    """Stable; see `info.description` for the usual ones."""


def make_document(operations: Iterable[Operation], *, version: str) -> dict[str, Any]:
    """Describe an API.

    Args:
        operations: Its rows.
        version: Of the program.

    Returns:
        The document, of JSON's types.
    """
    rows = tuple(operations)
    types: list[Any] = [Problem]
    for row in rows:
        types += [kind for kind in (row.body, row.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    by_type = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, by_type)
    usual = ", ".join(f"{status} `{code}`" for status, code in ERROR_CODES.items())
    document = {
        "openapi": OPENAPI,
        "info": {
            "title": "Headrace",
            "version": version,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Streams, keys, viewers, chat and recordings of a Headrace server. "
            "Errors are `{error, code}`; where nothing more precise is said, the code goes by "
            f"the status: {usual}.",
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(row.tag for row in rows)],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": dict(_CREDENTIALS)},
    }
    # Of JSON's types only: defaults of fields may be tuples.
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return value


def _operation(row: Operation, by_type: Mapping[int, Any]) -> dict[str, Any]:
    what = [row.description] if row.description else []
    what.append(f"Needs {_NEEDS[row.need]}{_scope(row)}.")
    value: dict[str, Any] = {
        "operationId": row.name,
        "tags": [row.tag],
        "summary": row.summary,
        "description": " ".join(what),
        "parameters": [
            *_path_parameters(row.path),
            *_query_parameters(row.query),
            *map(_header_parameter, row.fields),
        ],
        "responses": _responses(row, by_type),
        "security": _security(row),
    }
    if row.body is not None:
        value["requestBody"] = {
            "required": not row.body_optional,
            "content": {"application/json": {"schema": by_type[id(row.body)]}},
        }
    return value


def _scope(row: Operation) -> str:
    return "" if row.need is Need.ANYBODY else f" (scope `{row.scope}`)"


def _security(row: Operation) -> list[dict[str, list[str]]]:
    """Alternatives; the empty one is nobody in particular."""
    key: dict[str, list[str]] = {"streamKey": []}
    admin: dict[str, list[str]] = {"adminToken": []}
    ways: dict[Need, list[dict[str, list[str]]]] = {
        # Of some streams not everybody: then a credential helps.
        Need.ANYBODY: [{}] if row.stream_of is None else [{}, key, admin],
        Need.STREAM: [key, admin],
        Need.CHAT: [{"chatToken": []}, key, admin],
        Need.ADMIN: [admin],
    }
    return ways[row.need]


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(kind: type[msgspec.Struct] | None) -> list[dict[str, Any]]:
    if kind is None:
        return []
    schema, components = msgspec.json.schema_components([kind])
    (struct,) = (components[ref["$ref"].rpartition("/")[2]] for ref in schema)
    return [
        {"name": name, "in": "query", "required": False, "schema": of}
        for name, of in struct["properties"].items()
    ]


def _header_parameter(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if field.max_length is not None:
        schema |= {"minLength": 1, "maxLength": field.max_length}
    return {
        "name": field.name,
        "in": "header",
        "required": False,
        "description": field.description,
        "schema": schema,
    }


def _responses(row: Operation, by_type: Mapping[int, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done." if row.answer is None else "The answer."}
    if row.answer is not None:
        done["content"] = {row.media_type: {"schema": by_type[id(row.answer)]}}
    elif row.media_type not in ("application/json", ""):
        done["content"] = {row.media_type: {}}
    if row.answer_fields:
        done["headers"] = {
            name: {"required": True, "schema": {"type": "string"}} for name in row.answer_fields
        }
    done_by = {str(status): done for status in (row.status, *row.also)}
    for field in row.fields:
        if field.brings is not None:
            done_by[str(field.brings)] = _BROUGHT[field.brings] | (
                {"content": done["content"]} if field.brings == 206 else {}
            )
    problem = {
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    }
    errors = {503, *row.errors}
    if row.body is not None or row.query is not None:
        errors |= {400, 413} if row.body is not None else {400}
    if row.need is not Need.ANYBODY:
        errors |= {401, 403, 429}
    if "{" in row.path:
        errors.add(404)
    return done_by | {
        str(status): {"description": _MEANINGS[status], **problem} for status in sorted(errors)
    }


def render_page(document: Mapping[str, Any]) -> str:
    """Write the document as a page for people: HTML without a script.

    Args:
        document: Of `make_document`.
    """
    sections: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            sections[operation["tags"][0]].append(_entry(path, method, operation))
    schemas = document["components"]["schemas"]
    body = "".join(
        f"<h2>{html.escape(tag)}</h2>{''.join(entries)}" for tag, entries in sections.items()
    )
    types = "".join(_type(name, schema) for name, schema in sorted(schemas.items()))
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Headrace API</title>"
        '<link rel="stylesheet" href="/static/api.css">'
        f"<h1>Headrace API {html.escape(info['version'])}</h1>"
        f"<p>{_prose(info['description'])}</p>"
        '<p>For programs: <a href="/api/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
        f"<main>{body}<h2>types</h2>{types}</main></html>"
    )


def _entry(path: str, method: str, operation: Mapping[str, Any]) -> str:
    lines = [f"<p>{_prose(operation['description'])}</p>"]
    query = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
    if query:
        lines.append(f"<p>Query: {', '.join(f'<code>{name}</code>' for name in query)}</p>")
    heeded = [one["name"] for one in operation["parameters"] if one["in"] == "header"]
    if heeded:
        lines.append(f"<p>Head: {', '.join(f'<code>{name}</code>' for name in heeded)}</p>")
    if "requestBody" in operation:
        lines.append(f"<p>Body: {_link(operation['requestBody'])}</p>")
    answers = ", ".join(
        f"{status} {_link(answer)}" if status < "4" else status
        for status, answer in operation["responses"].items()
    )
    lines.append(f"<p>Answers: {answers}</p>")
    name = html.escape(operation["operationId"])
    return (
        f'<details id="{name}"><summary><b>{method.upper()}</b> <code>{html.escape(path)}</code> '
        f"{html.escape(operation['summary'])}</summary>{''.join(lines)}</details>"
    )


def _link(of: Mapping[str, Any]) -> str:
    for media_type, content in of.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if name:
            return f'<a href="#{html.escape(name)}">{html.escape(name)}</a>'
        return html.escape(media_type)
    return ""


def _type(name: str, schema: Mapping[str, Any]) -> str:
    required: Sequence[str] = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{html.escape(field)}</code>{'' if field in required else ' ?'}</td>"
        f"<td>{html.escape(_kind(of))}</td></tr>"
        for field, of in schema.get("properties", {}).items()
    )
    what = html.escape(schema.get("description", ""))
    return (
        f'<h3 id="{html.escape(name)}">{html.escape(name)}</h3><p>{what}</p><table>{rows}</table>'
    )


def _kind(of: Mapping[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in of:
        return str(of["$ref"]).rpartition("/")[2]
    if "anyOf" in of:
        return " or ".join(_kind(one) for one in of["anyOf"])
    if "enum" in of:
        return " | ".join(str(one) for one in of["enum"])
    if of.get("type") == "array":
        return f"list of {_kind(of.get('items', {}))}"
    return str(of.get("type", "anything"))


def _prose(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))

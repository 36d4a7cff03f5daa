"""The document of the API: valid, complete, and nothing but what the rows say; and its page."""

import json
import re
from typing import Any

import pytest
from api_rows import every_row
from openapi_spec_validator import validate

from edge.api.document import make_document, render_page
from edge.api.operation import Need
from edge.http.response import PREFLIGHT


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made = make_document(every_row(), version="1.2.3")
    assert json.loads(json.dumps(made)) == made, "JSON's types only"
    return made


def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["info"]["version"] == "1.2.3"


def test_every_row_is_there(document: dict[str, Any]) -> None:
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(row.method, row.path) for row in every_row()}
    ids = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(ids)) == len(ids)


def test_who_may_is_said(document: dict[str, Any]) -> None:
    for row in every_row():
        operation = document["paths"][row.path][row.method.lower()]
        allowed = {name for way in operation["security"] for name in way}
        assert (
            allowed
            == {
                Need.ANYBODY: {"streamKey", "adminToken"} if row.stream_of else set(),
                Need.STREAM: {"streamKey", "adminToken"},
                Need.CHAT: {"chatToken", "streamKey", "adminToken"},
                Need.ADMIN: {"adminToken"},
            }[row.need]
        )
        refuses = row.need is not Need.ANYBODY or 401 in row.errors
        assert ("401" in operation["responses"]) is refuses
        assert ("404" in operation["responses"]) is ("{" in row.path or 404 in row.errors)


def test_fields_of_the_head_are_said_and_what_they_bring(document: dict[str, Any]) -> None:
    paths = document["paths"]
    create = paths["/api/streams"]["post"]
    (field,) = create["parameters"]
    assert (field["name"], field["in"], field["required"]) == ("Idempotency-Key", "header", False)
    assert field["schema"] == {"type": "string", "minLength": 1, "maxLength": 200}
    assert set(create["responses"]["201"]["headers"]) == {"Location"}
    settings = paths["/api/streams/{streamId}/settings"]["get"]
    assert "content" not in settings["responses"]["304"]
    assert set(settings["responses"]["200"]["headers"]) == {"ETag"}
    download = paths["/api/recordings/{recordingId}/download.mp4"]["get"]
    assert set(download["responses"]["206"]["content"]) == {"video/mp4"}


def test_a_page_of_another_site_may_send_every_field(document: dict[str, Any]) -> None:
    allowed = dict(PREFLIGHT.fields)[b"access-control-allow-headers"].decode().split(", ")
    named = {
        one["name"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for one in operation["parameters"]
        if one["in"] == "header"
    }
    assert named <= {*allowed}


def test_a_parameter_of_a_query_is_never_null(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/api/streams"]["get"]["parameters"]
    by_name = {one["name"]: one["schema"] for one in parameters}
    assert by_name["status"] == {"enum": ["ended", "idle", "live"]}
    assert by_name["limit"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}
    assert by_name["after"] == {"type": "string", "maxLength": 64}


def test_the_page_shows_every_operation_and_type(document: dict[str, Any]) -> None:
    page = render_page(document)
    assert "<script" not in page
    assert "style=" not in page
    for row in every_row():
        assert f'id="{row.name}"' in page
    anchors = set(re.findall(r' id="([^"]+)"', page))
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in anchors

"""NetConnection and NetStream commands: reading what peers send, building what they expect.

A command is AMF0 values: a name, a transaction id, a command object, arguments (RTMP 1.0 section
7.2). The exact shape of the replies is what OBS, ffmpeg, GStreamer, librtmp and HaishinKit wait
for. Unlike metadata, a malformed command ends the connection: nothing after it can be trusted.

Pure functions; which command is legal when is `state`'s business, and their order `connection`'s.
Nothing here puts a stream key into an error.

May import: amf, amf0, capabilities, errors, events, limits.
"""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from rtmpcore import amf0
from rtmpcore.amf import AmfValue
from rtmpcore.capabilities import PROPERTIES, Capabilities, read_capabilities
from rtmpcore.errors import RemoteProtocolError
from rtmpcore.events import (
    Connect,
    ConnectAccepted,
    ConnectRejected,
    Play,
    PlayRefusal,
    PlayRefused,
    Publish,
    PublishRefusal,
    PublishRefused,
)
from rtmpcore.limits import Limits

# Codes of info objects (RTMP 1.0 section 7.2.2).
CONNECT_SUCCESS: Final = "NetConnection.Connect.Success"
RECONNECT_REQUEST: Final = "NetConnection.Connect.ReconnectRequest"
PUBLISH_START: Final = "NetStream.Publish.Start"
PLAY_START: Final = "NetStream.Play.Start"
PLAY_STOP: Final = "NetStream.Play.Stop"
PLAY_ENDS: Final = (PLAY_STOP, "NetStream.Play.Complete", "NetStream.Play.UnpublishNotify")
"""Codes that say that what was played is over; which one is the server's taste."""

_SPEC: Final = "RTMP 1.0 section 7.2"
_CONNECT_SPEC: Final = "RTMP 1.0 section 7.2.1.1"
_PLAY_SPEC: Final = "RTMP 1.0 section 7.2.2.1"
_PUBLISH_SPEC: Final = "RTMP 1.0 section 7.2.2.6"

# What Adobe's server 3.0.1 says of itself; encoders look for nothing newer.
_SERVER_VERSION: Final = "FMS/3,0,1,123"
_CAPABILITIES: Final = 31
_CLIENT_VERSION: Final = "FMLE/3.0 (compatible; Headrace)"

_RefusalT = TypeVar("_RefusalT", bound=enum.Enum)


class Command(NamedTuple):
    """One command message, its values told apart but not yet judged."""

    name: str
    """Such as ``publish``; never empty."""
    transaction_id: float
    """What a reply repeats; 0 asks for none."""
    command_object: AmfValue
    """An object in connect, null in most others."""
    arguments: list[AmfValue]
    """All values behind it."""


class Status(NamedTuple):
    """The info object of a reply: what happened, for the program and for the person."""

    level: str
    """``status`` or ``error``."""
    code: str
    """Such as ``NetStream.Publish.Start``."""
    description: str
    """One line for the person."""


def parse_command(payload: bytes, limits: Limits) -> Command:
    """Read the payload of a command message, without any AMF3 selector.

    A missing transaction id counts as 0, which asks for no reply.

    Raises:
        RemoteProtocolError: Not AMF0, beyond the limits, or without a name.
    """
    if len(payload) > limits.max_amf_bytes:
        raise RemoteProtocolError("a command is too long", _SPEC)
    values = amf0.decode(payload, max_depth=limits.max_amf_depth, max_values=limits.max_amf_values)
    name = values[0] if values else None
    transaction_id = values[1] if len(values) > 1 else 0.0
    if not isinstance(name, str) or not name:
        raise RemoteProtocolError("a command has no name", _SPEC)
    # bool is an int to Python, but not a transaction id.
    if not isinstance(transaction_id, float):
        raise RemoteProtocolError("a command's transaction id is not a number", _SPEC)
    return Command(name, transaction_id, values[2] if len(values) > 2 else None, values[3:])


def parse_connect(command: Command) -> Connect:
    """Read connect. Any property may be missing; some senders write ``tcurl``, or quote the URL.

    Raises:
        RemoteProtocolError: There is no command object; the error's reply says so.
    """
    sent = command.command_object
    if not isinstance(sent, Mapping):
        reason = "connect has no command object"
        raise RemoteProtocolError(reason, _CONNECT_SPEC, reply=ConnectRejected(description=reason))
    known = ("app", "tcUrl", "tcurl", "flashVer", *PROPERTIES)
    return Connect(
        app=_text(sent.get("app")),
        tc_url=_text(sent.get("tcUrl", sent.get("tcurl"))).strip("' "),
        flash_version=_text(sent.get("flashVer")),
        properties={name: value for name, value in sent.items() if name not in known},
        capabilities=read_capabilities(sent),
    )


def parse_connect_accepted(command: Command) -> ConnectAccepted:
    """Read the `_result` of connect, of which a client needs the server's capabilities only."""
    server = command.command_object
    return ConnectAccepted(
        capabilities=read_capabilities(server if isinstance(server, Mapping) else {})
    )


def parse_publish(command: Command, stream_id: int) -> Publish:
    """Read publish, whose name may carry a query and outer blanks.

    Raises:
        RemoteProtocolError: The name is missing or not a string; the error's reply says so.
    """
    raw_name = command.arguments[0] if command.arguments else None
    if not isinstance(raw_name, str):
        reason = "publish has no stream name"
        refusal = PublishRefused(
            stream_id=stream_id, code=PublishRefusal.BAD_NAME, description=reason
        )
        raise RemoteProtocolError(reason, _PUBLISH_SPEC, reply=refusal)
    name, query = _split_name(raw_name)
    kind = _text(command.arguments[1]) if len(command.arguments) > 1 else ""
    return Publish(stream_id=stream_id, name=name, query=query, kind=kind or "live")


def parse_play(command: Command, stream_id: int) -> Play:
    """Read play, whose name is as that of publish. Where to begin in a recording is not read.

    Raises:
        RemoteProtocolError: The name is missing or not a string; the error's reply says so.
    """
    raw_name = command.arguments[0] if command.arguments else None
    if not isinstance(raw_name, str):
        reason = "play has no stream name"
        refusal = PlayRefused(stream_id=stream_id, code=PlayRefusal.NOT_FOUND, description=reason)
        raise RemoteProtocolError(reason, _PLAY_SPEC, reply=refusal)
    name, query = _split_name(raw_name)
    return Play(stream_id=stream_id, name=name, query=query)


def parse_status(command: Command) -> Status:
    """Read the info object of a reply or an onStatus; what is missing is empty."""
    info = command.arguments[0] if command.arguments else None
    if not isinstance(info, Mapping):
        return Status("", "", "")
    return Status(*(_text(info.get(name)) for name in Status._fields))


def refusal_of(code: str, otherwise: _RefusalT) -> _RefusalT:
    """Return the refusal that a code means, of the other one's kind; for unknown codes that one."""
    try:
        return type(otherwise)(code)
    except ValueError:
        return otherwise


def call(name: str, transaction_id: float, *arguments: AmfValue) -> bytes:
    """Build a command without command object."""
    return amf0.encode(name, transaction_id, None, *arguments)


def connect(event: Connect, transaction_id: float) -> bytes:
    """Build connect.

    Raises:
        LocalProtocolError: A property has no AMF0 form.
    """
    properties: dict[str, AmfValue] = {
        "app": event.app,
        "type": "nonprivate",
        "flashVer": event.flash_version or _CLIENT_VERSION,
        "tcUrl": event.tc_url,
    }
    properties |= event.properties
    return amf0.encode("connect", transaction_id, properties | event.capabilities.properties())


def connect_accepted(transaction_id: float, capabilities: Capabilities) -> bytes:
    """Build the `_result` that accepts a connect.

    It names objectEncoding 0: to those who asked for AMF3 too, as all of them can speak AMF0.
    """
    server: dict[str, AmfValue] = {"fmsVer": _SERVER_VERSION, "capabilities": _CAPABILITIES}
    server |= capabilities.properties()
    info = _info(Status("status", CONNECT_SUCCESS, "Connection succeeded."))
    return amf0.encode("_result", transaction_id, server, info | {"objectEncoding": 0})


def connect_rejected(transaction_id: float, status: Status) -> bytes:
    """Build the `_error` that rejects a connect."""
    return call("_error", transaction_id, _info(status))


def on_status(status: Status) -> bytes:
    """Build onStatus (7.2.2); it belongs on the message stream that it speaks of."""
    return call("onStatus", 0, _info(status))


def reconnect_request(tc_url: str, description: str) -> bytes:
    """Build the onStatus that asks a client to connect anew; it belongs on message stream 0."""
    info = _info(Status("status", RECONNECT_REQUEST, description))
    return call("onStatus", 0, info | {"tcUrl": tc_url} if tc_url else info)


def parse_reconnect_url(command: Command) -> str:
    """Return the URL that a reconnect request names, or nothing."""
    info = command.arguments[0] if command.arguments else None
    return _text(info.get("tcUrl")) if isinstance(info, Mapping) else ""


def on_fc_publish() -> bytes:
    """Build onFCPublish, which Flash Media Live Encoder waits for before its onStatus."""
    info: AmfValue = {"code": PUBLISH_START, "description": "Started publishing stream."}
    return call("onFCPublish", 0, info)


def _split_name(raw_name: str) -> tuple[str, str]:
    """Split a stream name as sent into name and query; blanks around are no part of it."""
    name, _, query = raw_name.strip().partition("?")
    return name.strip(), query


def _info(status: Status) -> dict[str, AmfValue]:
    return dict(status._asdict())


def _text(value: AmfValue) -> str:
    return value if isinstance(value, str) else ""

"""Publish over RTMP with the client role of `rtmpcore`: the demo, the tests, the relays.

Use::

    async with open_publisher("127.0.0.1", 1935, "live", key) as publisher:
        await publisher.send_video_config(avc_decoder_configuration_record)
        await publisher.send_video(annexed_nal_units, timestamp_ms=0, keyframe=True)
        ...

Leaving the block unpublishes. A background task reads what the server says: acknowledgements and
pings are answered by the protocol, a status that ends the publication or a lost connection makes
the next call raise. That task cannot raise, so the nursery inside the context manager holds no
surprise: an exception of the block leaves as itself, not in a group.

Not here: pacing and encoding, which are the caller's; reconnecting, which is a policy.

May import rtmpcore and trio.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from secrets import token_bytes
from typing import Final

import trio

from origin.rtmp.driver import CLOSE_TIMEOUT_S, RtmpDriver
from rtmpcore import (
    AmfValue,
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    ConnectRejected,
    CreateStream,
    CuePoint,
    Event,
    Metadata,
    ProtocolError,
    Publish,
    PublishRefused,
    PublishStarted,
    Role,
    StreamCreated,
    Unpublish,
    VideoMessage,
    flv,
)
from rtmpcore.handshake import RANDOM_BYTES

SEND_TIMEOUT_S: Final = 10.0  # for one message to be taken by the server
FLASH_VERSION: Final = "FMLE/3.0 (compatible; Headrace)"  # the form that every server expects
TRANSPORT_ERRORS: Final = (  # whatever a lost connection may raise
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)


class PublisherError(Exception):
    """Publishing failed or can go on no longer; the text says why and holds no key."""


class PublishRefusedError(PublisherError):
    """The server refused the connection or the key.

    Args:
        code: The status code, such as ``NetStream.Publish.BadName``.
        description: The server's words.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


class Publisher:
    """A publication under way; made by `open_publisher` only.

    Every method raises `PublisherError` once the publication has ended at the server's side.
    Calls are safe from several tasks: messages go out in the order of the calls.
    """

    def __init__(self, driver: RtmpDriver, stream_id: int) -> None:
        self._driver = driver
        self._stream_id = stream_id
        self._failure: PublisherError | None = None
        self._ended = trio.Event()
        self._listen_scope = trio.CancelScope()

    async def send_metadata(self, values: Mapping[str, AmfValue], *, timestamp_ms: int = 0) -> None:
        """Send ``@setDataFrame onMetaData``."""
        await self._send(
            Metadata(stream_id=self._stream_id, timestamp_ms=timestamp_ms, values=values)
        )

    async def send_cue_point(self, values: Mapping[str, AmfValue], *, timestamp_ms: int) -> None:
        """Send ``onCuePoint``."""
        await self._send(
            CuePoint(stream_id=self._stream_id, timestamp_ms=timestamp_ms, values=values)
        )

    async def send_video_config(self, record: bytes, *, timestamp_ms: int = 0) -> None:
        """Send an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
        await self._send_video(timestamp_ms, flv.avc_config(record))

    async def send_video(
        self, data: bytes, *, timestamp_ms: int, keyframe: bool, composition_time_ms: int = 0
    ) -> None:
        """Send one access unit as length-prefixed NAL units.

        Args:
            data: The access unit.
            timestamp_ms: Decode time, taken modulo 2**32.
            keyframe: True for an IDR picture.
            composition_time_ms: Presentation minus decode time.
        """
        payload = flv.avc_frame(
            keyframe=keyframe, composition_time_ms=composition_time_ms, data=data
        )
        await self._send_video(timestamp_ms, payload)

    async def send_audio_config(self, config: bytes, *, timestamp_ms: int = 0) -> None:
        """Send an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1)."""
        await self._send_audio(timestamp_ms, flv.aac_config(config))

    async def send_audio(self, data: bytes, *, timestamp_ms: int) -> None:
        """Send one raw AAC frame, without ADTS header."""
        await self._send_audio(timestamp_ms, flv.aac_frame(data))

    async def relay(self, message: VideoMessage | AudioMessage | Metadata) -> None:
        """Pass on what another publisher sent: its payload as it is, on our message stream."""
        if message.stream_id != self._stream_id:
            message = replace(message, stream_id=self._stream_id)
        await self._send(message)

    async def _send_video(self, timestamp_ms: int, payload: bytes) -> None:
        await self._send(
            VideoMessage(
                stream_id=self._stream_id, timestamp_ms=timestamp_ms % 2**32, payload=payload
            )
        )

    async def _send_audio(self, timestamp_ms: int, payload: bytes) -> None:
        await self._send(
            AudioMessage(
                stream_id=self._stream_id, timestamp_ms=timestamp_ms % 2**32, payload=payload
            )
        )

    async def _send(self, event: Event) -> None:
        if self._failure is None:
            try:
                await self._driver.send(event)
                return
            except (ProtocolError, *TRANSPORT_ERRORS) as error:
                # The server's last words may say why, and may still be on their way.
                with trio.move_on_after(CLOSE_TIMEOUT_S):
                    await self._ended.wait()
                if self._failure is None:
                    self._failure = PublisherError(f"connection lost: {error}")
        raise self._failure

    async def _listen(self) -> None:
        """Read until the server ends the publication; never raises."""
        with self._listen_scope:
            self._failure = await self._listen_to_end()
        self._ended.set()

    async def _listen_to_end(self) -> PublisherError:
        try:
            while (event := await self._driver.next_event()) is not None:
                if isinstance(event, PublishRefused):
                    return PublishRefusedError(event.code.value, event.description)
        except ProtocolError as error:
            return PublisherError(f"protocol error: {error}")
        except TRANSPORT_ERRORS:
            return PublisherError("connection lost")
        return PublisherError("the server closed the connection")

    async def _unpublish(self) -> None:
        if self._failure is None:
            with suppress(ProtocolError, *TRANSPORT_ERRORS):  # it may be over already
                with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                    await self._driver.send(Unpublish(stream_id=self._stream_id))
        self._listen_scope.cancel(reason="unpublished")


@asynccontextmanager
async def open_publisher(
    host: str,
    port: int,
    app: str,
    key: str,
    *,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 10.0,
) -> AsyncIterator[Publisher]:
    """Connect, publish and hand over a `Publisher`; unpublish and close on leaving.

    Args:
        host: Name or address of the server.
        port: TCP port.
        app: Application, the path before the key: ``live``.
        key: The stream key.
        tls: Says what certificates are trusted, for RTMPS; None: plain TCP.
        timeout_s: Most time from the first packet to the server's consent.

    Raises:
        PublishRefusedError: The server refused the connection or the key.
        PublisherError: The server could not be reached, hung up, or broke the protocol.
    """
    started_s = trio.current_time()
    try:
        stream = await open_stream(host, port, tls=tls, timeout_s=timeout_s)
    except OSError as error:
        raise PublisherError(str(error)) from error
    left_s = timeout_s - (trio.current_time() - started_s)
    tc_url = f"{'rtmp' if tls is None else 'rtmps'}://{host}:{port}/{app}"
    async with publish_over(stream, tc_url, app, key, timeout_s=left_s) as publisher:
        yield publisher


async def open_stream(
    host: str, port: int, *, tls: ssl.SSLContext | None, timeout_s: float
) -> trio.abc.Stream:
    """Connect to a server, with TLS if that is asked for.

    Args:
        host: Name or address of the server; the name that its certificate must have.
        port: TCP port.
        tls: Says what certificates are trusted; None: plain TCP.
        timeout_s: Most time for all of it.

    Raises:
        OSError: It cannot be reached, or its certificate is not trusted; the text says why.
    """
    try:
        with trio.fail_after(timeout_s):
            stream = await trio.open_tcp_stream(host, port)
            if tls is None:
                return stream
            secure = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
            try:
                await secure.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return secure
    except trio.TooSlowError:
        raise OSError(f"cannot reach {host} port {port} in {timeout_s:.0f} s") from None
    except OSError as error:
        raise OSError(f"cannot reach {host} port {port}: {error}") from error
    except trio.BrokenResourceError as error:
        reason = error.__cause__ or "the server hung up"
        raise OSError(f"no TLS with {host} port {port}: {reason}") from error


@asynccontextmanager
async def publish_over(
    stream: trio.abc.Stream,
    tc_url: str,
    app: str,
    key: str,
    *,
    timeout_s: float = 10.0,
) -> AsyncIterator[Publisher]:
    """Do as `open_publisher` does, over a connected stream; closes it at the end."""
    failure: Exception | None = None
    driver = RtmpDriver(
        stream,
        Connection(Role.CLIENT, random_bytes=token_bytes(RANDOM_BYTES)),
        send_timeout_s=SEND_TIMEOUT_S,
    )
    try:
        publisher = Publisher(driver, await _publish(driver, tc_url, app, key, timeout_s))
        # A yield inside a nursery: CONTRIBUTING, Cancellation 5 says why it is safe here.
        async with trio.open_nursery() as listener_nursery:
            listener_nursery.start_soon(publisher._listen)
            try:
                yield publisher
            except Exception as error:
                failure = error  # raised again outside the nursery, which would wrap it
            finally:
                await publisher._unpublish()
        if failure is not None:
            raise failure
    finally:
        await driver.close()


async def _publish(driver: RtmpDriver, tc_url: str, app: str, key: str, timeout_s: float) -> int:
    """Go from the handshake to the server's consent; returns the message stream's id."""
    try:
        with trio.fail_after(timeout_s):
            return await _converse(driver, tc_url, app, key)
    except ProtocolError as error:
        raise PublisherError(f"protocol error: {error}") from error
    except trio.TooSlowError as error:
        raise PublisherError(f"no consent to publish within {timeout_s:.0f} s") from error
    except TRANSPORT_ERRORS as error:
        raise PublisherError("connection lost before publishing") from error


async def _converse(driver: RtmpDriver, tc_url: str, app: str, key: str) -> int:
    await driver.shake_hands()
    await driver.send(Connect(app=app, tc_url=tc_url, flash_version=FLASH_VERSION, properties={}))
    while (event := await driver.next_event()) is not None:
        if isinstance(event, ConnectAccepted):
            await driver.send(CreateStream(name=key))
        elif isinstance(event, ConnectRejected):
            raise PublishRefusedError(event.code.value, event.description)
        elif isinstance(event, StreamCreated):
            await driver.send(Publish(stream_id=event.stream_id, name=key, query="", kind="live"))
        elif isinstance(event, PublishStarted):
            return event.stream_id
        elif isinstance(event, PublishRefused):
            raise PublishRefusedError(event.code.value, event.description)
    raise PublisherError("the server closed the connection before publishing")

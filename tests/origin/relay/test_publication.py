"""A publication feeds its stream's tap, for exactly as long as it lasts."""

import pytest
from fake_peer import FakePeer
from structlog.testing import capture_logs

from edge.live import LiveStreams
from hls import TimelineSettings
from hls.segmenter_settings import SegmenterSettings
from origin.broadcast import Broadcasts
from origin.ingest import Ingest
from origin.relay.tap import Taps
from origin.rtmp.publisher import PublishDeniedError, PublishStoppedError
from rtmpcore import AudioMessage, RemoteProtocolError, VideoMessage

AAC = AudioMessage(stream_id=1, timestamp_ms=0, payload=b"\xaf\x00\x11\x90")


class House:
    """Streams that are taken without a key: the store is never asked."""

    def __init__(self) -> None:
        self.taps = Taps()
        self.broadcasts = Broadcasts(
            live=LiveStreams(),
            store=None,  # type: ignore[arg-type]
            timeline_settings=TimelineSettings(),
        )
        self.peer = FakePeer()
        self.ingest = Ingest(
            keys=None,  # type: ignore[arg-type]
            broadcasts=self.broadcasts,
            segmenter_settings=SegmenterSettings(),
            taps=self.taps,
        )


@pytest.fixture
async def house() -> House:
    return House()


async def test_what_was_packaged_is_passed_on(house: House) -> None:
    with capture_logs():
        publication = house.ingest.take("s", house.peer)
        tap = house.taps.get("s")
        assert tap is not None
        publication.describe({"width": 640.0})
        publication.push(AAC)
        metadata, header = tap.headers()
        assert header is AAC
        assert not isinstance(metadata, AudioMessage | VideoMessage)
        assert metadata.values == {"width": 640.0}


@pytest.mark.parametrize("goodbye", [True, False])
async def test_the_tap_ends_with_its_publisher(house: House, goodbye: bool) -> None:
    with capture_logs():
        publication = house.ingest.take("s", house.peer)
        tap = house.taps.get("s")
        publication.close(goodbye=goodbye)
    assert tap is not None
    assert tap.is_closed
    assert house.taps.get("s") is None


async def test_the_tap_ends_with_its_broadcast(house: House) -> None:
    with capture_logs():
        house.ingest.take("s", house.peer)
        tap = house.taps.get("s")
        house.broadcasts.end_stream("s", "ended by API")
    assert tap is not None
    assert tap.is_closed
    assert house.peer.hung_up == [("ended by API", True)]


@pytest.mark.parametrize(
    ("payload", "error"),
    [(b"\x17\x00", RemoteProtocolError), (b"\x17\x00\x00\x00\x00avcC", PublishStoppedError)],
)
async def test_what_is_refused_is_not_passed_on(
    house: House, payload: bytes, error: type[Exception]
) -> None:
    with capture_logs():
        publication = house.ingest.take("s", house.peer)
        tap = house.taps.get("s")
        assert tap is not None
        with pytest.raises(error):
            publication.push(VideoMessage(stream_id=1, timestamp_ms=0, payload=payload))
        assert tap.headers() == []
        publication.close()


async def test_a_publisher_that_is_refused_leaves_the_first_ones_tap_alone(house: House) -> None:
    with capture_logs():
        house.ingest.take("s", house.peer)
        tap = house.taps.get("s")
        with pytest.raises(PublishDeniedError):
            house.ingest.take("s", house.peer)
    assert tap is not None
    assert not tap.is_closed
    assert house.taps.get("s") is tap

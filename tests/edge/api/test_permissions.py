"""Who may do what, said a second time: the rows say it for the server, this table for the reader.

The permission tests of a live origin (`tests/e2e/test_api_contract.py`) go by what the rows say, so
a row that asks for too little would pass them.
"""

import pytest
from api_rows import every_row

from edge.api.operation import Need, Operation

MAY = {
    ("admin", "config"): "listTokens createToken endToken getConfig reloadConfig",
    ("admin", "edge"): "reportAudience",
    ("admin", "hooks"): "createHook listHooks getHook changeHook deleteHook rotateHookSecret"
    " testHook listDeliveries retryDelivery",
    ("admin", "read"): "listStreams",
    ("admin", "streams"): "createStream deleteStream setRelays",
    ("stream", "read"): "getSettings getRelays getSource getViewerHistory listBroadcastViewers"
    " getQuality getPlayback getHealth streamEvents",
    ("stream", "streams"): "changeStream startStream endStream createMarker listKeys createKey"
    " endKey rotateKey setPlayback deleteRecording",
    ("chat", "moderate"): "postMessage changeChatSettings clearMessages deleteMessage pinMessage"
    " unpinMessage listBans banUser unbanUser listModerators listAudit",
    ("chat", "streams"): "createChatToken addModerator removeModerator",
    # createPlaybackToken, recordings, media: these ask the policy of their stream besides.
    ("anybody", None): "listLiveStreams getStream countViewers beatViewer createPlaybackToken"
    " listRecordings getRecording getRecordingPlaylists getRecordingPlaylist downloadRecording"
    " getRecordingMedia getPlaybackKeys listMessages joinChat getChatSettings getMaster getPlaylist"
    " getIframes getTsPlaylist getInit getMedia getTsSegment getAlive getMetrics getReady",
}
ROWS = every_row()


def test_every_operation_is_in_the_table_once() -> None:
    named = [name for names in MAY.values() for name in names.split()]
    assert sorted(named) == sorted(row.name for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_it_serves_whom_the_table_says(row: Operation) -> None:
    scope = None if row.need is Need.ANYBODY else row.scope
    assert row.name in MAY[row.need.value, scope].split()

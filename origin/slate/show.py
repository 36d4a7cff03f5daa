"""Slates on the air: what plays one into a broadcast from the loss of its publisher to the next.

::

    Broadcasts.lose --> Slates.show --after_s--> a part every 200 ms, as from a publisher
                           |                          |
        publish or end: Show.stop, synchronous: what was half cut is published, nothing follows

To the packager a slate is one more publisher: the media breaks with a discontinuity where it begins
and where it ends, and renditions of a ladder are made of it as of any source.

A slate that cannot be made (no encoder for the codec, a file that has changed) is no reason to end
a broadcast: then the last picture stands, as it does without a slate, and the log says why.

Bounds: one show of a broadcast; `MAX_CLIPS` coded clips kept; one made at a time, as each takes a
core for about a second and a line that breaks may take a thousand publishers with it.

May import origin's own, trio and structlog.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
import trio

from edge.process.log import start_apart
from origin.bridge import Bridge
from origin.broadcast import Broadcast
from origin.packager import Packager
from origin.slate.clip import Clip, Format, SlateError, make_clip

MAX_CLIPS: Final = 8
"""Formats for which a coded clip is kept, the ones that were shown last."""

log = structlog.get_logger("slate")


class Slates:
    """Shows one file wherever a publisher is awaited.

    Args:
        path: A picture or clip that `clip.check_file` accepts.
        after_s: How long a publisher is away before it is shown.
        end: Ends a broadcast whose media cannot go on, and says why.
        make: Codes the file for a format; may raise `SlateError`.
    """

    def __init__(
        self,
        path: Path,
        *,
        after_s: float,
        end: Callable[[Broadcast, str], None],
        make: Callable[[Path, Format], Awaitable[Clip]] = make_clip,
    ) -> None:
        self._path = path
        self._after_s = after_s
        self._end = end
        self._make = make
        self._clips: OrderedDict[Format, Clip] = OrderedDict()
        self._making = trio.Lock()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Show until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:  # publishers may outlive this when all is cancelled at once
            self._nursery = None

    def show(self, broadcast: Broadcast) -> "Show | None":
        """Begin to stand in for a publisher that has just gone; None: there is nothing to show."""
        packager = broadcast.packager
        if packager is None or packager.tracks is None or self._nursery is None:
            return None
        show = Show(packager)
        begins_s = trio.current_time() + self._after_s
        start_apart(self._nursery, self._run, broadcast, show, Format.of(packager.tracks), begins_s)
        return show

    async def _run(
        self, broadcast: Broadcast, show: "Show", wanted: Format, begins_s: float
    ) -> None:
        """Run one show; a fault of it is that broadcast's only."""
        stream = broadcast.stream_id
        try:
            with show.scope:
                clip = await self._clip(wanted)
                await trio.sleep_until(begins_s)
                log.info("slate shown", stream=stream)
                await show.play(clip)
        except SlateError as error:
            log.warning("no slate", stream=stream, reason=str(error))
        except Exception:
            log.exception("slate failed", stream=stream)
            self._end(broadcast, "slate failed")

    async def _clip(self, wanted: Format) -> Clip:
        """Return the file in a format.

        Raises:
            SlateError: It cannot be had.
        """
        async with self._making:
            clip = self._clips.get(wanted)
            if clip is None:
                clip = self._clips[wanted] = await self._make(self._path, wanted)
                if len(self._clips) > MAX_CLIPS:
                    self._clips.popitem(last=False)
            self._clips.move_to_end(wanted)
            return clip


class Show:
    """One slate in one broadcast; see `broadcast.StandIn`."""

    def __init__(self, packager: Packager) -> None:
        self.scope = trio.CancelScope()
        """What `play` runs in."""
        self._packager = packager
        self._is_on = False

    async def play(self, clip: Clip) -> None:
        """Publish a clip again and again, in real time, until stopped.

        Raises:
            MediaError: The packager does not take it, and will take nothing any more.
        """
        bridge = Bridge()
        began_s = trio.current_time()
        for due_ms, message in clip.messages():
            await trio.sleep_until(began_s + due_ms / 1_000)
            outputs = bridge.push(message)
            if bridge.started and not self._is_on:
                self._is_on = True
                self._packager.begin()
            self._packager.take(outputs)

    def stop(self) -> None:
        """Leave the broadcast to whoever comes, at once. Synchronous; idempotent."""
        self.scope.cancel(reason="slate over")
        if self._is_on:
            self._is_on = False
            self._packager.interrupt()

"""The text of `/metrics`, made in slices: nobody else waits for a scrape.

A rendering goes family by family, large ones in pieces of `MAX_SAMPLES`, with a checkpoint after
each; a family itself is collected at once, some microsecond a sample. A rendering is not of one
moment: figures of different families may be some milliseconds apart, which is less than Prometheus
can tell.

Anybody may ask for ``/metrics``, so a rendering serves for `RENDER_INTERVAL_S`, and who asks while
one is made waits for that: asking often costs us nothing.

May import trio and prometheus-client. Spec: Prometheus text format 0.0.4.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import trio
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

RENDER_INTERVAL_S: Final = 1.0
"""How long a rendering serves. Scrapes are some 15 s apart."""


MAX_SAMPLES: Final = 1000
"""That are rendered at once: some 4 ms."""


class Exposition:
    """Renders collectors.

    Args:
        collectors: Whose families are told, in this order. Each makes a family when it is asked
            for the next one.
        clock: Seconds, for the age of a rendering.
    """

    def __init__(
        self, collectors: Sequence[Collector], *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._collectors = collectors
        self._clock = clock
        self._lock = trio.Lock()
        self._rendered = b""
        self._expires_s = float("-inf")

    async def render(self) -> bytes:
        """All figures as Prometheus' text, a second old at most.

        Cancellation: safe; the next one who asks begins again.
        """
        async with self._lock:
            if self._clock() >= self._expires_s:
                slices = []
                for text in self.slices():
                    slices.append(text)
                    await trio.lowlevel.checkpoint()
                self._rendered = b"".join(slices)
                self._expires_s = self._clock() + RENDER_INTERVAL_S
            return self._rendered

    def slices(self) -> Iterator[bytes]:
        """Make the same, family by family, large ones in pieces, each when it is asked for."""
        for collector in self._collectors:
            for family in collector.collect():
                yield from _render(family)


def _render(family: Metric) -> Iterator[bytes]:
    samples, family.samples = family.samples, []
    for start in range(0, max(1, len(samples)), MAX_SAMPLES):
        family.samples = samples[start : start + MAX_SAMPLES]
        text = generate_latest(_Only(family))
        yield text if not start else text.split(b"\n", 2)[2]  # HELP and TYPE are said once


class _Only(Collector):
    """A collector of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Sequence[Metric]:
        return (self._family,)

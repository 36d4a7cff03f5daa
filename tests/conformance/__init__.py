"""A black-box conformance checker for Low-Latency HLS servers.

`python -m tests.conformance URL` watches a live broadcast through its multivariant playlist, tries
what viewers and caches may try, and says rule by rule what it saw; docs/conformance.md lists the
rules. It knows a server by its answers only: it shares no code with `hls`, `edge` or `origin`, nor
with the readers of `tests/support`, and needs nothing beyond the standard library (PyAV, if it is
there, decodes the media for MF-09).

Three layers: `recorder` and `experiments` ask and make a `recording`; the `rules_*` modules are
pure functions over a recording; `report` prints. `playlist`, `multivariant` and `boxes` read what
came, note faults instead of raising, and go on as far as they can.

Bounds: see `client` (of one request), `recorder` (of a run).
"""

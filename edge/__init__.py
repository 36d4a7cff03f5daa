"""Everything a viewer touches: HTTP, LL-HLS delivery, the JSON API and the web pages.

`edge` serves; it does not decide what is true. The truth about streams comes through
`edge.backend.Backend`, the media through `edge.live.LiveStreams`; both are filled by `origin`
in the one-process set-up. On a stand-alone edge `edge.edge_app` stands in their place, and asks
upstreams.

May import: `hls`, `control`, `native`, Trio, h11, msgspec, structlog. Never `rtmpcore`, `origin`
or `av`.

    backend.py   what the API needs from the owner of the truth (a Protocol), and its JSON shapes
    errors.py    what a backend may answer instead of a result
    table.py     immutable responses by name, and the requests parked until one appears
    life.py      how long an answer stays the answer of its URL
    live.py      live renditions: timeline change -> new responses -> parked requests woken
    http/        HTTP over Trio: server, h11, h2, TLS, routes, and the reactor's pump (delivery)
    web/         the pages, loaded once at start
    process/     what every program needs as a process: settings, listeners, log, terminal
    workers.py   headrace-edge: the supervisor, which starts
    node.py      ... the workers, each a process that serves
    edge_app.py  what a worker serves: the routes of an edge, over
    edge_store.py    ... the cache that fills itself: what to answer, or what to wait for
    cache.py playlists.py      what it keeps; lifetimes.py: until when
    flights.py                 one request upstream for all who wait
    prefetch.py outline.py     what to ask for next
    playback/    who may watch: tokens, the gate before media, the program that is asked
    upstream.py upstream_lanes.py relay.py   whom, how, and their answers as ours
"""

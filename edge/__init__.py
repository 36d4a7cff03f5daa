"""Everything a viewer touches: HTTP, LL-HLS delivery, the JSON API and the web pages.

`edge` serves; it does not decide what is true. The truth about streams comes through
`edge.backend.Backend`, the media through `edge.live.LiveStreams`; both are filled by `origin`
in the one-process set-up and by an upstream client on a stand-alone edge.

May import: `hls`, `control`, `native`, Trio, h11, msgspec, structlog. Never `rtmpcore`, `origin`
or `av`.

    backend.py   what the API needs from the owner of the truth (a Protocol), and its JSON shapes
    errors.py    what a backend may answer instead of a result
    table.py     immutable responses by name, and the requests parked until one appears
    live.py      live renditions: timeline change -> new responses -> parked requests woken
    http/        HTTP/1.1 on h11 over Trio: server, connection, routes, handlers
    web/         the pages, loaded once at start
"""

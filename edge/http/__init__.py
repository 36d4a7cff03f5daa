"""HTTP/1.1 on h11 over Trio.

settings.py    every limit and time-out, in one frozen record
messages.py    a request, and the four ways to answer one
response.py    immutable responses with a pre-rendered header block; the cached Date line
representation.py  304, ranges and gzip: what one request makes of a shared response
connection.py  one connection: h11 <-> Trio, parked requests, hand-over
server.py      listeners, connection limits, drain
routes.py      path and method -> answer; no I/O
hls_app.py     playlists and media out of `edge.live`
api.py         the JSON API out of `edge.backend`
"""

"""HTTP/1.1 on h11, HTTP/2 on h2, with and without TLS, over Trio.

settings.py    every limit and time-out, in one frozen record
messages.py    a request, and the four ways to answer one
response.py    immutable responses with a pre-rendered header block; the cached Date line
representation.py  304, ranges and gzip: what one request makes of a shared response
connection.py  one connection of HTTP/1.1: h11 <-> Trio, parked requests, hand-over
h2_connection.py   one of HTTP/2: h2 <-> Trio, a task that reads and one that sends
h2_streams.py  its requests, and whose frame is next
h2_machine.py  h2, with what it leaves unbounded bounded
h2_meter.py    what a peer sends, judged before h2 sees it: floods and bombs
tls.py         the certificate, watched for changes; the handshake
server.py      listeners, connection limits, drain
routes.py      path and method -> answer; no I/O
hls_app.py     playlists and media out of `edge.live`
api.py         the JSON API out of `edge.backend`
"""

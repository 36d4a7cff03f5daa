"""What a stream's source is besides HLS: pushed to other services, watched, fetched from elsewhere.

::

    publisher --> ingest --> tap --> forward    to other services, by RTMP
                                 |-> rtmp_play  to a player, for monitoring
                                 '-> http_flv   the same over HTTP
    far server --> pull --> ingest

``service`` holds all of it together for the application and the API, ``access`` knows who may see a
source, ``target`` reads the URLs of far servers, ``attempts`` and ``backoff`` say how a connection
to one fares and when it is tried again.

Where a stream is relayed to and from is stored with it (`control.Relays`), and set by
``PUT /api/streams/{id}/relays``. May import rtmpcore, control, edge and origin's own; never hls.
"""

"""RTMP over Trio: the mechanical driver of `rtmpcore`, the listener for publishers, and the client.

`transport` goes from an accepted socket to a stream of RTMP's bytes, past a balancer's header
(`proxy_protocol`) and TLS; `driver` moves bytes between a stream and the sans-IO connection; `pump`
reads the sockets of many in one task; `server` accepts publishers and bounds them; `client`
publishes. None of them knows HLS: media goes to a `server.Sink` and comes from a caller. May import
rtmpcore, trio and edge.http's TLS, never hls or control.
"""

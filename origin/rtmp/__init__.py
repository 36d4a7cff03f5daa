"""RTMP over Trio: the mechanical driver of `rtmpcore`, the listener for publishers, and the client.

`driver` moves bytes between a stream and the sans-IO connection; `pump` reads the sockets of many
in one task; `server` accepts publishers and bounds them; `client` publishes. None of them knows
HLS: media goes to a `server.Sink` and comes from a caller. May import rtmpcore and trio, never hls,
edge or control.
"""

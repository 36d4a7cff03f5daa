"""The demo broadcast: a synthetic publisher, so that one command shows the whole road.

A child process (``python -m origin.demo URL``, the stream key on its stdin) draws a moving
picture with a readable clock, plays a tone, encodes both with PyAV and publishes over real RTMP,
like any OBS would. A process of its own, since encoding must never take a turn of the origin's
event loop, and a crash in a codec must cost the demo only.

    launch    parent side: the stream, the child, its restarts
    __main__  child side: connect, pace, send
    pacing    which frame is due
    encoder   pictures and sound to H.264 and AAC
    picture, font, timecode, sound    what is seen and heard

`timecode` defines the row of cells by which a test reads capture-to-glass latency from a canvas.
"""

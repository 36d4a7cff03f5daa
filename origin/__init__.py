"""The origin: the application that takes a broadcast in, packages it and serves it.

``cli`` reads ``config`` and runs ``app``; ``app`` opens the store and the listeners; ``rtmp``
drives connections; ``ingest`` and ``bridge`` turn a publisher's media into HLS; ``broadcast`` knows
who is live; ``backend`` tells the API; ``log`` keeps secrets out of the log; ``demo`` is a
publisher of our own. This package may import every other one; nothing imports it.
"""

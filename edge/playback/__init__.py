"""Who may watch a stream: signed tokens, the gate that asks for them, the rows of the API.

A stream's policy says whether it takes a token to watch it (`control.access_model.Playback`).
Whoever may give one does: the holder of the stream's key, an operator's own signer, or this server
after it has asked a program of the operator's. The gate knows one thing only, a token.

May import: `control`, `edge`, trio, httpx, PyJWT, cryptography.
"""

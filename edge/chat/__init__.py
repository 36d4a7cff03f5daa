"""Live chat: a room beside each stream, on the port of everything else.

    doorway    a WebSocket's beginning: trio-websocket, the origin check, the join
    crowd      the sockets of all who have joined: native fan-out, wsproto
    protocol   the JSON of both directions
    rules      who may say what, when: pure (with names, filters, commands, identity)
    room       the state of one stream's chat: pure
    service    rooms and what they need: storage, webhook, media clock, batches
    api        the same by REST

State changes are synchronous. What a room decides is stored before anybody sees it.
"""

"""Webhooks: programs of the operator's are told what happens, and one is asked who may publish.

::

    EventBus --(which hooks?)--> queue in memory --every 50 ms--> SQLite --in order--> receiver
                                                                    '-- a day later: dead letters

The files, lowest first: catalog (which events there are), lanes (what is due, pure), service (the
queue, the store and the sending), figures, api (its rows), publish (the question about publishers).

May import: control, edge.
"""

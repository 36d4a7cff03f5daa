"""What our programs have in common as processes: settings, listeners, logs, the terminal.

The origin, an edge and the tools are started, configured, watched and stopped in the same way. None
of this knows streams or HTTP.

May import: click, msgspec, structlog, trio; of ours only each other.

    errors.py     why a start is refused
    address.py    HOST:PORT
    settings.py   TOML, environment and flags to one frozen value
    listeners.py  sockets that listen, and how many descriptors we may have
    log.py        a line per event, with no secret in it
    memory.py     what is asked of malloc and of the collector
    terminal.py   flags in, one clear line and an exit code out
"""

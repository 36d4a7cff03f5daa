"""``headrace status``: the process itself.

May import: click, `origin.tools`.
"""

import click

from origin.tools import show
from origin.tools.session import Session, asks


@click.command("status")
@asks
def status(session: Session) -> None:
    """Say whether a server is ready; exit code 1 if it is not.

    It is asked once: what is not ready now is not waited for.
    """
    ready = session.run(lambda client: client.get_ready(), attempts=1)
    if session.as_json:
        show.json(ready)
        return
    show.line(ready.status)
    rows = [(name, "ok" if one.ok else "not ok", one.reason) for name, one in ready.checks.items()]
    show.table(("check", "state", "reason"), rows)

"""``python -m edge`` is ``headrace-edge``."""

from edge.cli import main

main()

"""``python -m origin`` is ``headrace-origin``."""

from origin.cli import main

main()

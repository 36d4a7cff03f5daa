"""Errors with a meaning for the process as a whole."""


class StartupError(Exception):
    """The origin cannot start, and the operator can do something about it.

    The text is one line that names what is wrong: an address in use, a folder that cannot be
    written, a setting. `origin.cli` prints it alone, without a traceback, and exits with code 2.
    `origin.app.run` raises it, bare or in exception groups, before it reports ``listening``;
    never later.
    """


class ConfigError(StartupError):
    """A setting is unknown, ill-typed or out of bounds. The text names it and where it was set."""

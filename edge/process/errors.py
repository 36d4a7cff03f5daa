"""Errors with a meaning for a process as a whole."""


class StartupError(Exception):
    """The program cannot start, and the operator can do something about it.

    The text is one line that names what is wrong: an address in use, a folder that cannot be
    written, a setting. `edge.process.terminal` prints it alone, without a traceback, and the exit
    code is 2. It is raised, bare or in exception groups, before a program reports ``listening``;
    never later.
    """


class ConfigError(StartupError):
    """A setting is unknown, ill-typed or out of bounds. The text names it and where it was set."""

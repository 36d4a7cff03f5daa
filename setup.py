"""Cython extensions of Headrace; all metadata is in pyproject.toml.

Switches (environment): ``HEADRACE_PURE=1`` builds no extension (the Python twins serve, and the
same variable must be set at run time); ``HEADRACE_SANITIZE=address,undefined`` builds checked
extensions, from C of their own (``make sanitize``); ``HEADRACE_ANNOTATE=1`` writes Cython's HTML
notes next to the generated C.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

# Listed, never globbed: a missing one is loud. With the system's libraries that each needs.
EXTENSIONS: dict[str, list[str]] = {
    "native._chunk": [],
    "native._fragment": [],
    "native._request": [],
    "native._tls": ["ssl", "crypto"],
    "native._reactor": [],
    "native._fanout": [],
}
SANITIZE = os.environ.get("HEADRACE_SANITIZE", "")
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": bool(SANITIZE),
    "wraparound": False,
    "initializedcheck": bool(SANITIZE),
    "cdivision": True,
    "embedsignature": True,
}


def extension(name: str, libraries: list[str]) -> Extension:
    source = Path(*name.split(".")).with_suffix(".pyx")
    if not source.exists():
        raise SystemExit(f"{source} is missing; is it in MANIFEST.in?")
    optimise = ["-O1", "-g"] if SANITIZE else ["-O3", "-g0"]
    sanitize = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"] if SANITIZE else []
    return Extension(
        name,
        [str(source)],
        libraries=libraries,
        extra_compile_args=["-Wall", "-Wextra", "-Wno-unused-parameter", *optimise, *sanitize],
        extra_link_args=sanitize,
    )


def ext_modules() -> list[Extension]:
    if os.environ.get("HEADRACE_PURE") == "1":
        return []
    if sys.implementation.name != "cpython":
        raise SystemExit("the extensions need CPython; set HEADRACE_PURE=1 to do without them")
    from Cython.Build import cythonize

    return list(
        cythonize(
            [extension(name, libraries) for name, libraries in EXTENSIONS.items()],
            compiler_directives=DIRECTIVES,
            # Cython does not look at the directives to see whether its C is fresh.
            build_dir="build/cython-sanitize" if SANITIZE else "build/cython",
            annotate=os.environ.get("HEADRACE_ANNOTATE") == "1",
        )
    )


setup(ext_modules=ext_modules())

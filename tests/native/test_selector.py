"""The selector picks what it was told to pick, and the twins look alike from outside."""

import ast
import inspect
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import native

if TYPE_CHECKING:
    from .conftest import Twin

PURE = os.environ.get("HEADRACE_PURE") == "1"
ROOT = Path(native.__file__).parents[1]


def test_the_compiled_build_is_loaded_unless_told_otherwise() -> None:
    expected = "py" if PURE else "c"
    assert expected == native.IMPLEMENTATION
    for thing in (native.ChunkReader, native.write_fragment, native.scan_request):
        path = sys.modules[thing.__module__].__file__
        assert path is not None
        assert path.endswith((".py",) if PURE else tuple(EXTENSION_SUFFIXES))


def run_python(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_python_twins_are_selected_by_the_environment() -> None:
    code = "import native; print(native.IMPLEMENTATION, native.ChunkReader.__module__)"
    assert run_python(code, HEADRACE_PURE="1").stdout == "py native._chunk_py\n"


def test_a_missing_build_is_loud() -> None:
    code = "import sys; sys.modules['native._chunk'] = None; import native"
    result = run_python(code, HEADRACE_PURE="0")
    assert result.returncode != 0
    assert "native._chunk" in result.stderr.splitlines()[-1]


def test_it_exports_what_it_says() -> None:
    without_twin = {"Blob", "Fanout", "Reactor", "TlsContext", "TlsSocket"}
    there = {name for name in native.__all__ if hasattr(native, name)}
    assert set(native.__all__) - there == (without_twin if PURE else set())


def parameters(thing: object) -> list[tuple[str, object, object]]:
    assert callable(thing)
    return [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(thing).parameters.values()
    ]


def test_twins_take_the_same_arguments(python_twin: "Twin", c_twin: "Twin") -> None:
    assert parameters(c_twin.write_fragment) == parameters(python_twin.write_fragment)
    assert parameters(c_twin.scan_request) == parameters(python_twin.scan_request)
    for name in ("feed", "set_limits"):
        ours = getattr(c_twin.chunk_reader, name)
        assert parameters(ours) == parameters(getattr(python_twin.chunk_reader, name))
    public = {name for name in dir(python_twin.chunk_reader) if not name.startswith("_")}
    assert {name for name in dir(c_twin.chunk_reader) if not name.startswith("_")} == public


@pytest.mark.slow
@pytest.mark.skipif(
    PURE, reason="HEADRACE_PURE=1: there are no extensions to compare the stubs with"
)
def test_the_stubs_say_what_the_binaries_are() -> None:
    pytest.importorskip("mypy")
    allowed = ROOT / "tests" / "native" / "stubtest_allowlist.txt"
    modules = ["native._chunk", "native._fragment", "native._request"]
    result = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", *modules, "--allowlist", str(allowed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def declarations(path: Path) -> list[str]:
    """Take the public signatures from a source or a stub, without bodies and docstrings."""
    found = []

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                collect(node.body, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef) and (
                node.name == "__init__" or not node.name.startswith("_")
            ):
                node.body = [ast.Expr(ast.Constant(...))]
                found.append(prefix + ast.unparse(node).replace("'", ""))

    collect(ast.parse(path.read_text()).body, "")
    return sorted(found)


@pytest.mark.parametrize(("kernel", "count"), [("_chunk", 5), ("_fragment", 1), ("_request", 2)])
def test_the_stubs_say_what_the_python_twins_are(kernel: str, count: int) -> None:
    folder = ROOT / "native"
    stub = declarations(folder / f"{kernel}.pyi")
    assert stub == declarations(folder / f"{kernel}_py.py")
    assert len(stub) == count

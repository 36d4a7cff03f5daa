"""Which package may import what (docs/architecture.md), read from every module's syntax tree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"native", "rtmpcore", "hls", "control", "edge", "origin", "tests", "fuzz"}
# What a sans-IO package may not touch: clocks, sockets, threads, randomness, logs, codecs.
EFFECTS = {
    *("trio", "asyncio", "socket", "ssl", "select", "threading", "subprocess"),
    *("time", "os", "random", "secrets", "logging", "structlog", "av", "h11", "h2"),
}
# package -> (packages of ours it may import, modules it may not)
RULES: dict[str, tuple[set[str], set[str]]] = {
    "native": (set(), EFFECTS - {"os"}),  # the selector reads one variable
    "rtmpcore": ({"native"}, EFFECTS),
    "hls": ({"native"}, EFFECTS),
    "control": ({"native"}, {"av", "h11", "h2"}),
    "edge": ({"native", "hls", "control"}, {"av"}),
    "origin": ({"native", "rtmpcore", "hls", "control", "edge"}, set()),
    "fuzz": ({"native", "rtmpcore", "hls", "edge", "origin"}, {"trio", "av"}),
}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(), filename=str(path))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    return names


def modules(package: str) -> list[Path]:
    return [p for p in sorted((ROOT / package).rglob("*.py")) if "node_modules" not in p.parts]


@pytest.mark.parametrize("package", RULES)
def test_package_imports_only_what_design_allows(package: str) -> None:
    allowed, forbidden = RULES[package]
    paths = modules(package)
    assert paths, f"{package}/ has no module"
    for path in paths:
        roots = {name.partition(".")[0] for name in imported(path)}
        strangers = (roots & OURS) - allowed - {package}
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"
        assert not roots & forbidden, f"{path.relative_to(ROOT)} imports {roots & forbidden}"


def test_one_bridge_knows_both_vocabularies() -> None:
    both = {
        str(path.relative_to(ROOT))
        for path in modules("origin")
        if {"rtmpcore", "hls"} <= {name.partition(".")[0] for name in imported(path)}
    }
    assert both <= {"origin/bridge.py"}


def test_what_programs_share_as_processes_knows_nothing_else_of_ours() -> None:
    for path in modules("edge/process"):
        ours = {name for name in imported(path) if name.partition(".")[0] in OURS}
        strangers = {name for name in ours if not name.startswith("edge.process")}
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_only_the_selector_imports_a_twin() -> None:
    kernels = ("_chunk", "_fragment", "_request")
    twins = {f"native.{kernel}{suffix}" for kernel in kernels for suffix in ("", "_py")}
    for package in OURS - {"tests"}:
        for path in modules(package):
            if path != ROOT / "native" / "__init__.py":
                assert not imported(path) & twins, path.relative_to(ROOT)


def test_no_support_module_shares_code_with_its_subject() -> None:
    """An oracle that imports what it judges proves nothing."""
    for path in sorted((ROOT / "tests" / "support").glob("*.py")):
        roots = {name.partition(".")[0] for name in imported(path)}
        assert not roots & {"native", "rtmpcore", "hls"}, path.relative_to(ROOT)


def test_the_origin_itself_loads_no_codec() -> None:
    """FFmpeg takes strangers' bytes: it lives in worker processes only."""
    code = "import sys, origin.app, origin.tools.probe; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

"""What a stranger installs: the sdist holds the sources, a wheel from it holds compiled kernels.

Built from the files git knows, in an empty folder, because a checkout hides what is missing.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KERNELS = ("_chunk", "_fragment", "_request")

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the file list of a release is unknown")
    clean = tmp_path_factory.mktemp("clean")
    listed = run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clean / name)
    built = run(sys.executable, "setup.py", "-q", "sdist", cwd=clean)
    assert built.returncode == 0, built.stderr
    (archive,) = (clean / "dist").glob("*.tar.gz")
    return archive


def test_every_package_is_named_in_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = project["tool"]["setuptools"]["packages"]
    roots = {name.partition(".")[0] for name in named}
    found = {
        ".".join(folder.relative_to(ROOT).parts)
        for root in roots
        for folder in (ROOT / root, *(ROOT / root).rglob("*"))
        if folder.is_dir() and "node_modules" not in folder.parts and any(folder.glob("*.py"))
    }
    assert sorted(named) == sorted(found)


def test_the_sdist_holds_cython_sources_tests_and_no_generated_c(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for kernel in KERNELS:
        assert {f"native/{kernel}.pyx", f"native/{kernel}.pyi", f"native/{kernel}_py.py"} <= names
    assert "tests/test_packaging.py" in names
    made = [name for name in names if name.endswith((".c", ".so"))]
    assert not [name for name in made if not name.startswith("tests/bench/yardstick/")]


def test_a_wheel_from_the_sdist_holds_compiled_kernels(sdist: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    built = run(*pip, "-w", str(tmp_path), str(sdist), cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert "none-any" not in wheel.name
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(target)
    for kernel in KERNELS:
        assert [n for n in names if n.startswith(f"native/{kernel}.") and n.endswith(".so")]
    assert "edge/web/watch.html" in names
    assert "origin/transcode/worker.py" in names
    (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
    commands = (target / entry_points).read_text()
    assert "headrace = origin.tool:main" in commands
    assert "headrace-edge = edge.cli:main" in commands
    assert "headrace-origin = origin.cli:main" in commands
    # From an empty folder and without this checkout on the path, the wheel's own kernels load.
    check = "import native; print(native.IMPLEMENTATION, native.__file__)"
    seen = run(sys.executable, "-S", "-c", check, cwd=tmp_path, PYTHONPATH=str(target))
    assert seen.stdout.split()[0] == "c", seen.stderr
    assert str(target) in seen.stdout


def test_a_missing_cython_source_ends_the_build_with_one_line(sdist: Path, tmp_path: Path) -> None:
    assert run("tar", "-xf", str(sdist), cwd=tmp_path).returncode == 0
    (tree,) = tmp_path.iterdir()
    (tree / "native" / "_chunk.pyx").unlink()
    built = run(sys.executable, "setup.py", "-q", "build_ext", cwd=tree)
    assert built.returncode != 0
    assert built.stderr.strip().endswith("native/_chunk.pyx is missing; is it in MANIFEST.in?")

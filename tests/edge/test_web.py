"""Pages as responses: what is stamped, what may be missing."""

from importlib.resources import files
from pathlib import Path

import pytest

from edge.web import Pages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the package's own files, with a stand-in for hls.js."""
    own = [
        one for one in files("edge.web").iterdir() if one.name.endswith((".html", ".css", ".js"))
    ]
    for name in [one.name for one in own]:
        (tmp_path / name).write_bytes(files("edge.web").joinpath(name).read_bytes())
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "hls.min.js").write_text("window.Hls = {};")
    return tmp_path


def body(pages: Pages, path: str) -> str:
    page = pages.watch if path == "/watch" else pages.get(path, "")
    assert page is not None
    return b"".join(page.chunks).decode()


def test_references_carry_the_hash_of_what_they_name(folder: Path) -> None:
    before = Pages.load(folder)
    for name in ("style.css", "watch.js", "hls.min.js"):
        assert f'"/static/{name}?{before.versions[f"/static/{name}"]}"' in body(before, "/watch")
    (folder / "watch.js").write_text("// new")
    after = Pages.load(folder)
    assert after.versions["/static/watch.js"] != before.versions["/static/watch.js"]
    assert after.versions["/static/style.css"] == before.versions["/static/style.css"]


def test_without_hls_js_everything_else_is_served(folder: Path) -> None:
    (folder / "vendor" / "hls.min.js").unlink()
    pages = Pages.load(folder)
    assert pages.get("/static/hls.min.js", "") is None
    assert '"/static/hls.min.js"' in body(pages, "/watch")  # unstamped: the page sees a 404
    assert "make setup" in body(pages, "/static/watch.js")


def test_a_server_without_chat_shows_none(folder: Path) -> None:
    with_chat, without = Pages.load(folder), Pages.load(folder, has_chat=False)
    assert "/static/chat.js" in body(with_chat, "/watch")
    assert "/static/chat.js" not in body(without, "/watch")
    assert 'id="chat" class="chat" aria-labelledby="chat-title" hidden' in body(without, "/watch")
    assert "/static/watch.js" in body(without, "/watch")


def test_another_missing_file_stops_the_start(folder: Path) -> None:
    (folder / "style.css").unlink()
    with pytest.raises(OSError, match=r"style\.css"):
        Pages.load(folder)


def test_the_player_is_pinned_and_its_lock_names_no_registry() -> None:
    package = files("edge.web")
    assert '"hls.js": "1.7.4"' in package.joinpath("package.json").read_text()
    lock = package.joinpath("package-lock.json").read_text()
    assert "sha512-" in lock
    assert "resolved" not in lock
    assert "http" not in lock

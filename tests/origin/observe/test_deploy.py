"""What is in deploy/ for operators: of figures that there are, with labels that they have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \|", re.MULTILINE)
OF_TARGETS = {"instance", "job"}


def documented() -> dict[str, set[str]]:
    """Labels by the name that a series has; docs/metrics.md is held to what is rendered."""
    found: dict[str, set[str]] = {"up": set()}
    for match in ROW.finditer((ROOT / "docs" / "metrics.md").read_text()):
        labels = set(re.findall(r"`(\w+)`", match["labels"]))
        if match["kind"] == "histogram":
            found |= {f"{match['name']}_{part}": labels for part in ("sum", "count")}
            found[f"{match['name']}_bucket"] = labels | {"le"}
        else:
            found[match["name"]] = labels
    return found


def dashboard() -> Any:
    return json.loads((DEPLOY / "grafana" / "headrace.json").read_text())


def rules() -> list[Any]:
    groups = yaml.safe_load((DEPLOY / "headrace-alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str, str]]:
    """Where, expression, and what is shown of its labels."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            name, label = re.fullmatch(  # type: ignore[union-attr]
                r"label_values\((\w+), (\w+)\)", variable["query"]["query"]
            ).groups()
            yield variable["name"], name, f"{{{{{label}}}}}"
    for rule in rules():
        yield rule["alert"], rule["expr"], " ".join(rule["annotations"].values())


@pytest.mark.parametrize(("where", "expression", "shown"), list(expressions()))
def test_expressions_are_of_figures_and_labels_that_there_are(
    where: str, expression: str, shown: str
) -> None:
    known = documented()
    names = re.findall(r"\b(?:headrace|process)_\w+|\bup\b", expression)
    assert names, where
    assert set(names) <= set(known), where
    # Labels that select: each belongs to the figure that it stands behind.
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= known[name] | OF_TARGETS, f"{where}: {name}"
    # Labels that are kept or shown are there to be: of every figure of the expression.
    kept = known[names[0]].intersection(*(known[name] for name in names)) | OF_TARGETS
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    for labels in grouped:
        assert set(re.findall(r"\w+", labels)) <= kept, where
    visible = set(re.findall(r"\w+", ",".join(grouped))) if grouped else kept
    for label in re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", shown):
        assert label in visible, f"{where} shows {label}"
    # Counters only ever through their change.
    for name in names:
        if name.endswith("_total"):
            assert re.search(rf"(rate|increase)\({name}\b", expression), f"{where}: {name}"


def test_the_dashboard_is_whole() -> None:
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = {f"${one['name']}" for one in board["templating"]["list"]} | {"$__rate_interval"}
    for where, expression, _shown in expressions():
        assert set(re.findall(r"\$\w+", expression)) <= variables, where


def test_prometheus_reads_rules_that_are_there() -> None:
    settings = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert [(DEPLOY / name).is_file() for name in settings["rule_files"]] == [True]
    assert [job["job_name"] for job in settings["scrape_configs"]] == [
        "headrace-origin",
        "headrace-edge",
    ]
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("unit", ["headrace-origin", "headrace-edge"])
def test_systemd_understands_the_units(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    text = (DEPLOY / f"{unit}.service").read_text()
    assert f"/bin/{unit} " in text
    # What it starts is not installed here, and need not be.
    copy = tmp_path / f"{unit}.service"
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    told = [line for line in done.stderr.splitlines() if unit in line]
    assert told == []
    assert done.returncode == 0, done.stderr

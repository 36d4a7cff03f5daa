"""Every rule passes on a healthy recording, and finds each fault that is planted for it."""

import re
import sys
from pathlib import Path

import pytest

from tests.conformance.every_rule import RULES, Check, judge
from tests.conformance.healthy import healthy
from tests.conformance.planted import Plant, broken
from tests.conformance.planted_media import FAULTS

MUSTS = {
    "MV": [1, 2, 3, 4, 6, 7, 8, 12],
    "MP": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
    "PT": [1, 3, 4, 5, 6, 10, 11, 12, 13, 14],
    "BR": [1, 2, 4, 5, 6, 7, 8, 14, 15],
    "DU": [1, 2, 3],
    "RR": [1, 2, 3],
    "PH": [1, 2, 3, 4, 7],
    "MF": [1, 2, 3, 4, 5, 6, 8, 9, 11],
    "AL": [1, 3, 4, 5],
    "HT": [1, 2, 3, 4, 9, 12, 13, 14],
    "EN": [1, 2, 3, 4, 5],
}
"""The rules that the reference marks MUST, MUST-P or MUST-H."""
SHOULDS = {
    "MV": [5, 9, 10, 11],
    "PT": [2, 7, 8, 9],
    "BR": [3, 9, 10, 11, 12, 13],
    "DU": [4],
    "PH": [5, 6],
    "MF": [7, 10],
    "AL": [2],
    "TM": [1, 2],
    "HT": [5, 6, 7, 8, 10, 11],
    "EN": [6],
}


def ids(table: dict[str, list[int]]) -> set[str]:
    return {f"{chapter}-{number:02d}" for chapter, numbers in table.items() for number in numbers}


def test_every_rule_of_the_reference_is_there_with_its_level() -> None:
    assert {rule.id for rule in RULES.values() if rule.must} == ids(MUSTS)
    assert {rule.id for rule in RULES.values() if not rule.must} == ids(SHOULDS)


def test_it_shares_no_code_with_what_it_checks() -> None:
    folder = Path(__file__).parent
    imported = {
        name.partition(".")[0] if not name.startswith("tests.conformance") else "itself"
        for path in folder.glob("*.py")
        if not path.name.startswith("test_")
        for name in re.findall(r"^ *(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
    }
    assert imported - {"itself", "av"} <= sys.stdlib_module_names


def test_every_rule_has_a_planted_fault() -> None:
    assert set(FAULTS) == set(RULES)


def test_a_healthy_broadcast_passes_every_rule() -> None:
    verdicts = judge(healthy())
    assert {v.rule.id: v.check.findings for v in verdicts if v.word == "FAIL"} == {}
    assert {v.rule.id: v.check.reason for v in verdicts if v.word == "NOT SEEN"} == {}


@pytest.mark.parametrize(
    ("rule", "plant"),
    [
        pytest.param(rule, plant, id=f"{rule}-{number}")
        for rule, plants in sorted(FAULTS.items())
        for number, plant in enumerate(plants)
    ],
)
def test_a_planted_fault_is_found(rule: str, plant: Plant) -> None:
    check = Check(broken(plant))
    RULES[rule].run(check)
    assert check.failures > 0
    assert check.findings

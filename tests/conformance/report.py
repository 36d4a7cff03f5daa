"""Prints verdicts, one line for each rule, and what was found under it."""

from collections.abc import Sequence

from tests.conformance.recording import Recording
from tests.conformance.rules import Verdict

SHOWN_FINDINGS = 3


def report(recording: Recording, verdicts: Sequence[Verdict]) -> str:
    """The whole report."""
    lines = [f"Low-Latency HLS conformance of {recording.url}"]
    lines += [
        f"  {rendition.name}: {len(rendition.snapshots)} versions, {len(rendition.parts)} parts"
        f", {len(rendition.segments)} segments, {len(rendition.refusals)} refusals"
        for rendition in recording.renditions.values()
    ]
    lines += [f"  note: {remark}" for remark in recording.remarks]
    lines.append("")
    for verdict in sorted(verdicts, key=lambda verdict: verdict.rule.id):
        rule, check = verdict.rule, verdict.check
        what = f"{check.failures} of {check.count}" if check.failures else str(check.count)
        what = f"({check.reason})" if verdict.word == "NOT SEEN" else what
        lines.append(f"{rule.id}  {rule.level:<7} {verdict.word:<8} {what}  {rule.text}")
        lines += [f"       {finding}" for finding in check.findings[:SHOWN_FINDINGS]]
    words = [verdict.word for verdict in verdicts]
    broken = [verdict.rule.id for verdict in failed(verdicts)]
    lines += [
        "",
        f"{words.count('PASS')} rules pass, {words.count('FAIL')} fail, "
        f"{words.count('NOT SEEN')} were not seen.",
        f"Not conformant: {', '.join(sorted(broken))}" if broken else "No MUST is broken.",
    ]
    return "\n".join(lines)


def failed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those of a MUST level."""
    return [verdict for verdict in verdicts if verdict.rule.must and verdict.word == "FAIL"]

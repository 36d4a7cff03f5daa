"""The command line: `python -m tests.conformance URL`.

Exit code 0: no MUST is broken; 1: one is; 2: there was no broadcast to look at.
"""

import argparse
import sys

from tests.conformance import every_rule
from tests.conformance.recorder import Options, Recorder
from tests.conformance.report import failed, report


def main(arguments: list[str] | None = None) -> int:
    """Run the checker."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description="Check a live Low-Latency HLS broadcast."
    )
    parser.add_argument("url", nargs="?", default="", help="of the multivariant playlist")
    parser.add_argument("--list", action="store_true", help="print the rules and stop")
    parser.add_argument("--seconds", type=float, default=60, help="how long to watch (60)")
    parser.add_argument("--wait-start", type=float, default=30, help="for the broadcast (30 s)")
    parser.add_argument("--wait-end", type=float, default=0, help="longer, for its end (0 s)")
    parser.add_argument("--stall-url", default="", help="media playlist whose publisher is silent")
    parser.add_argument("--max-latency", type=float, default=2, help="of a part, for TM-01 (2 s)")
    parser.add_argument("--insecure", action="store_true", help="accept any certificate")
    given = parser.parse_args(arguments)
    if given.list:
        print("\n".join(every_rule.listed()))
        return 0
    if not given.url.startswith(("http://", "https://")):
        parser.error("the URL of a multivariant playlist is needed, http: or https:")
    options = Options(
        url=given.url,
        seconds=given.seconds,
        wait_start_s=given.wait_start,
        wait_end_s=given.wait_end,
        stall_url=given.stall_url,
        insecure=given.insecure,
        max_latency_s=given.max_latency,
    )
    recording = Recorder(options, lambda text: print(text, file=sys.stderr)).record()
    verdicts = every_rule.judge(recording)
    print(report(recording, verdicts))
    if not any(rendition.snapshots for rendition in recording.renditions.values()):
        return 2
    return 1 if failed(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())

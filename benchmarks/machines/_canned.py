"""A generator that generates nothing: it answers every order at once with one and the same report.

Run as `python -m benchmarks.machines._canned CPUS REPORT`: a JSON list of core numbers, and a file with a `SwarmReport`.
"""

import json
import sys
from pathlib import Path


def main(cpus: str, report: str) -> None:
    told = Path(report).read_text()

    def say(*lines: str) -> None:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    say(f'{{"event": "ready", "cpus": {cpus}}}')
    for line in sys.stdin:
        if json.loads(line)["op"] == "trial":
            say('{"event": "window"}')
            say('{"event": "closed"}')
            say(f'{{"event": "report", {told[1:]}')


if __name__ == "__main__":
    main(*sys.argv[1:])

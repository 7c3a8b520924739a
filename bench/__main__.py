"""``python -m bench [--only CLAIM] [--rounds N] [--json FILE]``: measure the claims and print a table.

Ends with 0 when every measured claim is met, else 1. BENCH_SCALE=0.01 makes all sizes a hundredth, to try the claims
out: such figures prove nothing.
"""

import argparse
import compileall
import importlib
import signal
import sys
from pathlib import Path

import bridge
from bench import machine, report, runner
from bench.claim import Claim

MODULES = {
    "pg_bulk": "pg_bulk",
    "pg_small": "pg_small",
    "pg_latency": "pg_latency",
    "pg_snapshot": "pg_snapshot",
    "view_pg": "view_pg",
    "compare": "compare",
    "contract_check": "contract",
    "webhook_sink": "webhook_sink",
    "webhook_out": "webhook_out",
    "amqp_out": "amqp_out",
    "deliver_latency": "deliver_latency",
    "ingest_with_dead_sinks": "ingest_with_dead_sinks",
    "drain": "drain",
    "backlog": "backlog",
    "cold_start": "cold_start",
    "api_pull": "api_pull",
    "sse_fanout": "sse_fanout",
    "full_compare": "full_compare",
    "sweep": "sweep",
    "view_mariadb": "view_mariadb",
    "cobol": "cobol",
    "ebcdic/fixed": "ebcdic_fixed",
}


def main() -> int:
    """Measure what was asked for."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description="Measure the claims.")
    arguments.add_argument("--only", action="append", choices=MODULES, help="this claim only; may be repeated")
    arguments.add_argument("--rounds", type=int, help="alternating rounds (default: 3)")
    arguments.add_argument("--json", type=Path, help="also write the results to this file")
    asked = arguments.parse_args()
    compileall.compile_dir(bridge.__path__[0], quiet=1)  # as pip does with what it installs
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every server and reader is stopped
    results = []
    for name in asked.only or MODULES:
        claim: Claim = importlib.import_module(f"bench.{MODULES[name]}").CLAIM
        print(f"{claim.name}: {claim.about}", flush=True)
        results += runner.run(claim, asked.rounds or claim.rounds, lambda line: print(line, flush=True))
    found = machine.describe()
    report.print_table(results, found)
    if asked.json:
        report.write_json(results, found, asked.json)
    return 0 if all(result.met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

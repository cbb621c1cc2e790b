"""`python -m tests.move [BROKER ...] [--short] [--seed N]`: move the application, count, and print the counts.

The exit code is 1 if a task was lost or doubled.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections import Counter
from pathlib import Path

from ..faults import processes
from ..faults.scene import Stand
from .brokers import BROKERS, installed
from .ledger import Ledger
from .move import DEMO, LONG, SHORT, Move
from .picture import Picture
from .scene import Scene


def main() -> int:
    arguments = parse()
    # A shell starts its background jobs with SIGINT ignored; this run ends by it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("stopped"))
    try:
        with Stand.built("move", arguments.keep) as stand:
            try:
                held = [move(stand, broker, arguments) for broker in arguments.brokers]
            finally:
                processes.over.set()  # so that nothing is started again while the stand ends
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0 if all(held) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.move", description="The proof of the move.")
    parser.add_argument("brokers", nargs="*", metavar="BROKER", help=f"default: of {', '.join(BROKERS)}, all installed")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--short", action="store_const", dest="pace", const=SHORT, help="short days: what CI runs")
    pace.add_argument("--demo", action="store_true", help="the shortest days, with a live picture in the terminal")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a run")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave logs in this new directory")
    arguments = parser.parse_args()
    arguments.pace = DEMO if arguments.demo else arguments.pace or LONG
    if unknown := set(arguments.brokers) - set(BROKERS):
        parser.error(f"no broker {', '.join(sorted(unknown))}; there are {', '.join(BROKERS)}")
    if not arguments.brokers:
        arguments.brokers = installed()
        for missing in set(BROKERS) - set(arguments.brokers):
            print(f"{missing} is not installed, and is left out", file=sys.stderr)
    return arguments


def move(stand: Stand, broker: str, arguments: argparse.Namespace) -> bool:
    """Move the application away from one broker. Return whether the counts hold.

    The demo does not go back, and in the short form only the first broker does.
    """
    picture = Picture(f"From Celery on {broker} to Temporal, seed {arguments.seed}", drawn=arguments.demo)
    dice = random.Random(f"{arguments.seed} {broker}")
    picture.day(f"The servers, the web processes and the workers start ({broker}, seed {arguments.seed}).")
    with Scene(stand, broker) as scene, picture.of(scene):
        run = Move(scene, dice, arguments.pace, picture)
        ledger = run.run(there_only=arguments.demo or (arguments.pace is SHORT and broker != arguments.brokers[0]))
    problems = [*run.problems, *ledger.problems]
    print(told(run, ledger), *(f"NOT as it should be: {problem}" for problem in problems), sep="\n", flush=True)
    return not problems


def told(run: Move, ledger: Ledger) -> str:
    return f"""
  killed -9: {run.kills.total()} ({listed(run.kills)})
  committed {len(ledger.committed)} = started {len(ledger.started)} = effects {len(ledger.runs)}
  lost {len(ledger.lost)}, doubled {len(ledger.doubled)}
  called in Celery and run in Temporal: {ledger.carried.total()} ({listed(ledger.carried)})
  called here and run in Celery: {ledger.returned.total()} ({listed(ledger.returned)})
  Celery's own: {len(ledger.never_sent)} never sent, {len(ledger.doubled_by_celery)} run again
  published twice to a broker that can't refuse it: {len(ledger.published_twice)}"""


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())

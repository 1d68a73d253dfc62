"""Measures vibetracker; run ``python -m benchmarks`` in the checkout, with the dev extra and wrk.

What counts are the ratios, since they are of one run; times are of the machine.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks import additions, compare, journal, plot, scaffold, scale, steady, tagged, transfer
from benchmarks.servers import require_load_generator
from vibetracker.core.discovery import discover

BY_TURNS = {
    "scaffold": scaffold.scaffold,
    "additions": additions.additions,
    "journal": journal.journal,
}


def main() -> None:
    """Run the benchmark that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        default="compare",
        choices=[
            "compare",
            "scaffold",
            "additions",
            "journal",
            "scale",
            "workers",
            "memory",
            "transfer",
            "tagged",
        ],
        help="side by side with a hand-written and an idiomatic application, and with peers "
        "where the extra benchmarks is installed (the default); a feature as `vibetracker new` "
        "writes it; the lists of tasks with and without what other features add; "
        "writes with and without the journal of changes; among 1 000 to "
        "1 000 000 tasks; two workers against one; the memory of a worker; "
        "memory and time of exports and imports, and of changes to a tag that all tasks have",
    )
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=3, help="per operation and turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_000_000, help="while memory is watched")
    parser.add_argument(
        "--operation", action="append", choices=list(compare.OPERATIONS), help="only this one"
    )
    parser.add_argument("--json", type=Path, help="also write every measure to this file")
    parser.add_argument("--plot", type=Path, help="also draw the comparison into this SVG file")
    arguments = parser.parse_args()
    if arguments.what not in {"transfer", "tagged"}:
        require_load_generator()
    discover()
    results: object
    match arguments.what:
        case "compare":
            asked = arguments.operation or compare.OPERATIONS
            # In their order: writes come last, since they change what lists have to look at.
            wanted = [name for name in compare.OPERATIONS if name in asked]
            measured = compare.compare(arguments.tasks, arguments.seconds, arguments.turns, wanted)
            if arguments.plot:
                arguments.plot.write_text(plot.plot(measured))
            results = {
                operation: {name: [asdict(turn) for turn in turns] for name, turns in by.items()}
                for operation, by in measured.items()
            }
        case "scaffold" | "additions" | "journal":
            measure = BY_TURNS[arguments.what]
            results = measure(arguments.tasks, arguments.seconds, arguments.turns)
        case "scale":
            results = scale.scale()
        case "transfer":
            results = transfer.transfer(arguments.tasks)
        case "tagged":
            results = tagged.tagged(arguments.tasks)
        case "workers":
            results = steady.workers(arguments.tasks, arguments.seconds, arguments.turns)
        case _:
            results = steady.memory(arguments.tasks, arguments.requests)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

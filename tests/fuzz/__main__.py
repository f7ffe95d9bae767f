"""Fuzz targets: `python -m tests.fuzz TARGET... --seconds N`. What breaks one is kept in tests/data/fuzz."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.fuzz import fuzzer


def main() -> int:
    """Fuzz the given targets, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="+", choices=[*fuzzer.NAMES, "all"], metavar="TARGET", help="%(choices)s")
    parser.add_argument("--seconds", type=int, default=60, help="for how long, each (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzzer's dice (default: another one each time)")
    parser.add_argument("--corpus", type=Path, help="folder that keeps what reached new branches (default: none)")
    parser.add_argument("--artifacts", type=Path, default=fuzzer.CRASHES, help="folder for what breaks a target")
    given = parser.parse_args()
    names = fuzzer.NAMES if "all" in given.targets else given.targets
    scratch, process = Path(tempfile.mkdtemp()), os.getpid()
    try:
        return fuzzer.fuzz(
            names, given.seconds, given.seed, given.corpus or scratch / "corpus", given.artifacts, scratch
        )
    finally:
        if os.getpid() == process:  # not a fork, which shares it
            shutil.rmtree(scratch)


if __name__ == "__main__":
    sys.exit(main())

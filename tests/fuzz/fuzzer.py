"""Atheris (libFuzzer for Python), which tries what reaches new branches of either half."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NoReturn

CRASHES: Final = Path(__file__).parent.parent / "data" / "fuzz"
NAMES: Final = (
    "answers",
    "bodies",
    "calls",
    "documents",
    "downloads",
    "encodings",
    "forms",
    "framings",
    "hashes",
    "hidings",
    "limits",
    "requests",
    "traces",
)
"""Of the targets, which are imported only once their branches are counted."""
INPUT_BYTES_MAX: Final = 16 * 1024
SLOW_S: Final = 10
MEMORY_MIB_MAX: Final = 1024


def fuzz(names: Iterable[str], seconds: int, seed: int, corpus: Path, artifacts: Path, scratch: Path) -> int:
    """Fuzz targets, one after the other; give the highest status, 0 unless something broke."""
    import atheris  # where it has wheels

    with atheris.instrument_imports(include=["spanledger_instrumentation", "spanledger_exporter"]):
        from tests.fuzz import targets  # noqa: F401 - its imports are instrumented
    # The fuzzer ends its process: each target has one, and what is imported is imported once.
    return max(_forked(atheris, name, (seconds, seed), corpus / name, artifacts, scratch / name) for name in names)


def _forked(atheris: Any, name: str, limits: tuple[int, int], corpus: Path, artifacts: Path, scratch: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if not process:
        _fuzz(atheris, name, limits, corpus, artifacts, scratch)
    return abs(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def _fuzz(atheris: Any, name: str, limits: tuple[int, int], corpus: Path, artifacts: Path, scratch: Path) -> NoReturn:
    from tests.fuzz import corpus as seeded
    from tests.fuzz import targets

    seeds, words = scratch / "seeds", scratch / "words"
    for folder in (seeds, corpus, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeded.seeds(name):
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in seeded.words()), encoding="ascii")
    options = [
        f"-max_total_time={limits[0]}",
        f"-seed={limits[1]}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-artifact_prefix={artifacts}/{name}-",
        f"-dict={words}",
    ]
    atheris.Setup([name, *options, str(corpus), str(seeds)], lambda data: targets.run(name, data))
    atheris.Fuzz()
    raise AssertionError("the fuzzer ends its process, and writes at its end what broke the target")


def _escaped(word: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


def run_apart(names: Iterable[str], seconds: int) -> subprocess.CompletedProcess[str]:
    """Fuzz targets in a process of their own."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *names, "--seconds", str(seconds), "--seed", "1"],
        cwd=Path(__file__).parent.parent.parent,
        check=False,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

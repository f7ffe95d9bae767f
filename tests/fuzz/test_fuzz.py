"""Every target of `python -m tests.fuzz`, for a few seconds; and what once broke one, for ever."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz import corpus, fuzzer, targets
from tests.servers.process import missing

SECONDS = 2
AT_ONCE = 2


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_seed_holds(name: str) -> None:
    seeds = corpus.seeds(name)
    assert seeds
    for seed in seeds:
        targets.run(name, seed)


@pytest.mark.parametrize("path", sorted(corpus.CRASHES.glob("*-*")), ids=lambda path: path.name)
def test_what_once_broke_a_target_holds(path: Path) -> None:
    targets.run(path.name.partition("-")[0], path.read_bytes())


def test_the_fuzzer_knows_every_target() -> None:
    assert set(fuzzer.NAMES) == set(targets.TARGETS)


def test_no_target_breaks_in_a_few_seconds() -> None:
    """What breaks one is kept in tests/data/fuzz, where the tests above replay it: commit it with its mending."""
    if importlib.util.find_spec("atheris") is None:
        missing("atheris has no wheel for this system, or is not installed")
    shares = [fuzzer.NAMES[at::AT_ONCE] for at in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        ran = list(threads.map(lambda names: fuzzer.run_apart(names, SECONDS), shares))
    said = "".join(done.stdout for done in ran)
    assert not any(done.returncode for done in ran), said[-5000:]
    assert said.count("Done ") == len(fuzzer.NAMES)

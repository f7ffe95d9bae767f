import asyncio
import logging

import pytest

from spanledger_instrumentation import fence
from spanledger_instrumentation.fence import Fence


def test_a_failure_is_held_back_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = fence.FAILURES.pop("here", 0)
    assert before == 0
    for _ in range(3):
        with Fence("here"):
            raise ValueError("a mistake")
    assert fence.FAILURES.pop("here") == 3
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "a mistake" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_what_ends_a_program_or_a_task_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), Fence("there"):
        raise error
    assert "there" not in fence.FAILURES

import gc

import pytest

from spanledger_instrumentation import fence, reaper


class Open:
    """A call that nobody ends."""

    def close(self) -> None:
        pytest.fail("it was not to be ended here")


def test_open_calls_are_followed_up_to_a_bound_and_not_kept_alive() -> None:
    gc.collect()
    fence.FAILURES.clear()
    calls = [Open() for _ in range(reaper.OPEN_MAX + 1)]
    for call in calls:
        reaper.follow(call)
    assert fence.FAILURES["open_max"] >= 1
    fence.FAILURES.clear()
    del call
    calls.clear()
    reaper.follow(last := Open())
    assert not fence.FAILURES
    reaper.forget(last)

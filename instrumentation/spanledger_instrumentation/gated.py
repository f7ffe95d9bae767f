"""A call that is held at a gate until its budgets have let it pass, and that tells them at its end what it has used."""

from spanledger_instrumentation.admission import Admission
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.refusals import ERROR_TYPE, Refusal
from spanledger_instrumentation.usage import Usage, UsageStatus

__all__ = ["Gated"]

_ADMIT, _SETTLE = Fence("admit"), Fence("settle")


class Gated:
    """What a call does about its budgets; without any it does nothing."""

    __slots__ = ("_admission", "_error_type", "_unsent", "gated", "recording")

    def __init__(self, *, recording: bool) -> None:
        self._admission: Admission | None = None
        self._error_type: str | None = None
        self._unsent = False
        """Whether it is still held, or was refused: nothing can be billed."""
        self.gated = False
        self.recording = recording

    def hold(self, admission: Admission) -> None:
        """Take what budgets say of the call."""
        self._admission = admission
        self._unsent = admission.pending
        self.gated = True

    def close(self) -> None:
        """End the call, wherever it stands."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """End the call with the exception that the app is about to see."""
        raise NotImplementedError

    def admit(self) -> Refusal | None:
        """Decide whether the call may be sent, and wait for that if need be; a refused one has ended."""
        admission = self._admission
        if admission is not None and admission.pending:
            self._unsent = True
            try:
                admission.wait()
            except Exception as error:  # noqa: BLE001 - the fence
                _ADMIT.caught(error)
            except BaseException as error:
                self.fail(error)
                raise
        return self._admitted()

    async def admit_async(self) -> Refusal | None:
        """Decide the same, without holding up the event loop."""
        admission = self._admission
        if admission is not None and admission.pending:
            self._unsent = True
            try:
                await admission.wait_async()
            except Exception as error:  # noqa: BLE001 - the fence
                _ADMIT.caught(error)
            except BaseException as error:
                self.fail(error)
                raise
        return self._admitted()

    def _admitted(self) -> Refusal | None:
        admission = self._admission
        self._unsent = False
        with _ADMIT:
            refusal = None if admission is None else admission.refusal()
            if refusal is not None:
                self._unsent = True
                self._error_type = ERROR_TYPE
                self.close()
            self.recording = self.recording or self._is_held  # what it uses must be known, also where nobody records it
            return refusal
        return None

    def notice(self) -> str:
        """Give the header that tells of soft budgets near their limits."""
        with _ADMIT:
            return "" if self._admission is None else self._admission.notice()
        return ""

    @property
    def refused(self) -> bool:
        """Whether a budget refused it."""
        return self._unsent and self._error_type == ERROR_TYPE

    @property
    def _is_held(self) -> bool:
        """Whether something of a lease is taken for it, which its end must settle: every byte counts."""
        return self._admission is not None and self._admission.holds

    def _settle(self, usage: Usage | None, status: UsageStatus, received_bytes: int | None, *, reports: bool) -> None:
        if self._admission is not None:
            with _SETTLE:
                self._admission.settle(usage, status, received_bytes, reports=reports)

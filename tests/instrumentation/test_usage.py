import pytest

from spanledger_instrumentation.usage import Answer, Usage, usage_status

SOME = Usage(input_tokens=0)


@pytest.mark.parametrize(
    ("answer", "whole", "sent", "status"),
    [
        (Answer(usage=SOME), True, True, "reported"),
        (Answer(usage=SOME, usage_final=True), False, True, "reported"),
        (Answer(usage=SOME), False, True, "partial"),
        (Answer(usage=Usage()), True, True, "unreported"),
        (Answer(), True, True, "unreported"),
        (Answer(begun=True, error_type="overloaded_error"), False, True, "unreported"),
        (Answer(error_type="overloaded_error"), False, True, "none"),
        (Answer(), True, False, "none"),
    ],
)
def test_unknown_is_never_zero(answer: Answer, *, whole: bool, sent: bool, status: str) -> None:
    assert usage_status(answer, whole=whole, sent=sent) == status


def test_an_answer_without_a_last_event_is_complete_once_it_says_why_it_stopped() -> None:
    assert not Answer().complete()
    assert Answer(finish_reasons=("stop",)).complete()
    assert not Answer(finish_reasons=("error",), error_type="x").complete()
    assert Answer(done=True).complete()

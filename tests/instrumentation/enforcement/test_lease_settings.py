"""Where budgets are leased from, as the environment says."""

import pytest

from spanledger_instrumentation import lease_settings, settings

PREFIX = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_"
ENDPOINT = {f"{PREFIX}ENDPOINT": "http://127.0.0.1:4318"}


def test_nothing_is_enforced_by_default() -> None:
    assert settings.load({}).budgets is None
    assert lease_settings.load({f"{PREFIX}TIMEOUT": "5"}) is None


def test_an_endpoint_switches_it_on_with_defaults() -> None:
    found = settings.load(ENDPOINT).budgets
    assert found is not None
    assert (found.url, found.timeout_s, found.closed) == ("http://127.0.0.1:4318", 1, False)


@pytest.mark.parametrize("url", ["127.0.0.1:4318", "grpc://h:1", "http://", "http://h:x", "http://[::1", "http://h:0"])
def test_what_is_no_url_is_left_out_with_a_warning(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert lease_settings.load({f"{PREFIX}ENDPOINT": url}) is None
    assert "no budget is enforced" in caplog.text


@pytest.mark.parametrize(
    ("value", "seconds"), [("2.5", 2.5), ("60", 60), ("0", 1), ("-1", 1), ("nan", 1), ("61", 1), ("x", 1)]
)
def test_a_deadline_is_a_number_of_seconds(value: str, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    found = lease_settings.load({**ENDPOINT, f"{PREFIX}TIMEOUT": value})
    assert found is not None
    assert found.timeout_s == seconds
    assert bool(caplog.records) is (seconds == 1)


def test_headers_are_decoded_and_a_bad_one_is_left_out_unseen(caplog: pytest.LogCaptureFixture) -> None:
    value = "X-Tenant=a%20b, authorization=Bearer%20s, no-value, bad name=secret, split=a%0D%0Ab, wide=%E2%82%AC"
    found = lease_settings.load({**ENDPOINT, f"{PREFIX}HEADERS": value})
    assert found is not None
    assert found.headers == {"x-tenant": "a b", "authorization": "Bearer s"}
    assert len(caplog.records) == 4
    assert "secret" not in caplog.text
    assert "Bearer" not in repr(found)


@pytest.mark.parametrize(
    ("value", "closed", "warned"), [("closed", True, False), ("OPEN", False, False), ("shut", False, True)]
)
def test_what_happens_before_anything_is_known_is_open_or_closed(
    value: str, closed: bool, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found = lease_settings.load({**ENDPOINT, f"{PREFIX}ON_UNREACHABLE": value})
    assert found is not None
    assert found.closed is closed
    assert bool(caplog.records) is warned


@pytest.mark.parametrize(
    ("value", "number", "warned"),
    [
        *[("", 1, False), ("1", 1, False), ("3.5", 3.5, False), ("8", 8, False)],
        *[("0.9", 1, True), ("8.1", 1, True), ("nan", 1, True), ("inf", 1, True), ("four", 1, True)],
    ],
)
def test_a_token_has_from_one_byte_to_eight(
    value: str, number: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found = lease_settings.load({**ENDPOINT, f"{PREFIX}BYTES_PER_TOKEN": value})
    assert found is not None
    assert found.bytes_per_token == number
    assert bool(caplog.records) is warned

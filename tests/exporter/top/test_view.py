import pytest

from spanledger_exporter.top.view import (
    BACKSPACE,
    CLEAR,
    ENTER,
    ESCAPE,
    FILTER_CHARS_MAX,
    HANGUP,
    HELP,
    SORTS,
    View,
    press,
)


def pressed(*keys: str, view: View | None = None) -> View:
    found = view or View()
    for key in keys:
        after = press(found, key)
        assert after is not None
        found = after
    return found


def test_q_and_a_terminal_that_is_gone_end_it() -> None:
    assert press(View(), "q") is None
    assert press(View(typed="abc", help=True), HANGUP) is None


def test_s_goes_through_all_orders_and_begins_anew() -> None:
    assert [pressed(*"s" * times).sort for times in range(len(SORTS) + 1)] == [*SORTS, "cost"]


def test_w_goes_through_all_windows_and_begins_anew() -> None:
    assert [pressed(*"w" * times).window for times in range(5)] == ["1h", "24h", "month", "15m", "1h"]


def test_r_and_p_are_switches() -> None:
    assert pressed("r", "p") == View(reverse=True, paused=True)
    assert pressed("r", "p", "r", "p") == View()


@pytest.mark.parametrize(("key", "focus"), [("b", "budgets"), ("m", "models"), ("c", "calls")])
def test_a_panel_has_the_room_for_itself_until_its_key_is_pressed_again(key: str, focus: str) -> None:
    assert pressed(key).focus == focus
    assert pressed(key, key).focus == "all"
    assert pressed("b", "c", "m", ESCAPE).focus == "all"


def test_a_filter_is_typed_and_applied() -> None:
    assert pressed(*"/gpt").filter == ""
    assert pressed(*"/gpt", ENTER) == View(filter="gpt")
    assert pressed(*"/gpx", BACKSPACE, "t", ENTER).filter == "gpt"
    assert pressed(*"/gpt", ENTER, *"/-4", ENTER).filter == "gpt-4"
    assert pressed(*"/gpt", ENTER, "/", CLEAR, *"o3", ENTER).filter == "o3"


def test_letters_of_a_filter_are_no_commands() -> None:
    assert pressed(*"/qsrwbmcp?/") == View(typed="qsrwbmcp?/")


@pytest.mark.parametrize("keys", [[*"/gpt", ESCAPE], [*"/gpt", ENTER, ESCAPE], [*"/gpt", ENTER, "/", ESCAPE]])
def test_escape_clears_a_filter(keys: list[str]) -> None:
    assert pressed(*keys) == View()


def test_a_filter_has_an_end_and_no_control_characters() -> None:
    assert pressed("/", *"x" * 1000).typed == "x" * FILTER_CHARS_MAX
    assert pressed("/", "\x00", "\x1b", "\u202e", "é").typed == "é"


def test_any_key_closes_the_help_and_does_nothing_else() -> None:
    assert pressed("?").help
    assert pressed("?", "s") == View()
    assert pressed("?", "q") == View()


def test_the_help_has_every_key_that_does_something() -> None:
    acting = {chr(code) for code in range(33, 127) if press(View(), chr(code)) != View()}
    assert acting == {key for key, _ in HELP}

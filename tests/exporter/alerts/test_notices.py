"""What a message about a budget says, in each form, whatever names come from outside."""

import html
import json
from html.parser import HTMLParser

import pytest

from spanledger_exporter.alerts.notices import Notice, Texts, amount_text, duration_text, plain, texts, trial_texts
from spanledger_exporter.budgets.periods import Bounds, Period
from spanledger_exporter.budgets.spending_parts import Part
from tests.exporter.standing import NOW_S, UNUSUAL, USD, budget, state, stored

PARTS = (Part("model", "gpt-5", 61), Part("model", "", 22), Part("service", "shop", 100))
HOSTILE = "<b>@everyone</b>\r\nBcc: all@example.com\n[x](http://evil) *b* `code` | \u202e <!channel> <@U123> \x1b[31m"


def notice(percent: float = 92.4199, group: str = "", per: tuple[str, ...] = (), **changes: object) -> Notice:
    of = stored(budget("search", mode="hard", per=per, period=Period(timezone="Europe/Berlin"), description="Prod"))
    return Notice.of(state(percent, of, group, **changes), 90, NOW_S, PARTS)


def said(*notices: Notice, link: str = "") -> Texts:
    return texts(notices or [notice()], link=link)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(page: str) -> _Text:
    parser = _Text()
    parser.feed(page)
    return parser


def test_a_message_says_what_was_spent_of_what_until_when_and_where_it_leads() -> None:
    found = said(notice(anomaly=UNUSUAL, unpriced_calls=14), link="https://example.com/d?budget={budget}")
    assert found.subject == "[spanledger] search: 92 % of 100 USD spent (threshold 90 %)"
    assert found.text.splitlines() == [
        "The budget search has reached 90 % of its limit.",
        "",
        "Spent: 92.41 USD, 92 % of 100 USD",
        "About: Prod",
        "Period: 2026-11-01 01:00 to 2026-12-01 01:00 (Europe/Berlin), 2 days left",
        "Most of it, by model: gpt-5 61 %, not reported 22 %",
        "Most of it, by service: shop 100 %",
        "Projected: 118 USD by the end of the period, likely 103 USD to 131 USD",
        "Runs out: in about 26 hours, 2026-11-29 15:00",
        "Daily average: 8.80 USD",
        "Unusual: 41 USD today, usually 3 USD",
        "Grew most, by model: gpt-5: 38 USD today, usually 1 USD",
        "Grew most, by service: shop: 39 USD today, usually 2 USD",
        "Not in it: 14 calls of unknown price",
        "At the limit: calls are refused, where services enforce budgets",
        "Seen: 2026-11-28 13:00",
        "",
        "Look closer: spanledger budgets show search",
        "Look closer: https://example.com/d?budget=search",
    ]


def test_each_form_says_the_same() -> None:
    found = said(notice(anomaly=UNUSUAL))
    lines = [line for line in found.text.splitlines() if ": " in line and not line.startswith("Look closer")]
    page = rendered(found.html)
    assert [line for line in lines if line not in page.text.replace("\u00a0", " ")] == []
    assert [line for line in lines if f"- **{line.replace(': ', '**: ', 1)}" not in found.markdown] == []
    assert page.tags <= {"div", "p", "b", "br", "span", "code", "a"}


def test_what_is_not_known_is_left_out() -> None:
    found = said(notice(forecast=None, run_out_s=None, daily_average=0.0)).text
    for head in ("Projected", "Runs out", "Daily average", "Unusual", "Grew", "Not in it"):
        assert head not in found


def test_calls_without_a_price_are_said_only_where_they_are_not_in_what_was_spent() -> None:
    rated = budget(on_unpriced="rate", input_rate_pusd=5 * USD, output_rate_pusd=25 * USD)
    for counted in (budget(unit="tokens"), budget(unit="calls"), rated):
        assert Notice.of(state(of=stored(counted), unpriced_calls=14), 90, NOW_S).unpriced_calls == 0
    assert "Not in it: 14 calls" in said(notice(unpriced_calls=14)).text


def test_what_ran_out_does_not_run_out_again() -> None:
    assert "Runs out" not in said(notice(100)).text


def test_a_notice_is_kept_as_it_is_and_read_though_a_later_version_knows_more() -> None:
    kept = notice(anomaly=UNUSUAL)
    assert Notice.from_json(kept.to_json()) == kept
    assert Notice.from_json(json.dumps(json.loads(kept.to_json()) | {"mood": "gloomy"})) == kept


def test_a_group_is_named() -> None:
    found = said(notice(group='["ml","anna"]', per=("team", "user")))
    assert found.subject == "[spanledger] search, team=ml,user=anna: 92 % of 100 USD spent (threshold 90 %)"
    assert "(team=ml,user=anna)" in found.text


def test_several_groups_are_one_message_the_worst_first_and_not_without_end() -> None:
    groups = [notice(80 + number / 10, f'["u{number:03}"]', ("user",)) for number in range(150)]
    found = said(*groups)
    assert found.subject == "[spanledger] search: 150 groups reached a threshold"
    lines = found.text.splitlines()
    assert lines[2] == "user=u149: 94 % of 100 USD (threshold 90 %)"
    assert lines[22:24] == ["And others: 130 more", ""]


@pytest.mark.parametrize("form", ["subject", "text", "markdown", "html", "brief"])
def test_names_from_outside_stay_one_line_of_text_that_calls_nobody(form: str) -> None:
    grew = UNUSUAL._replace(grew=tuple(each._replace(value=HOSTILE) for each in UNUSUAL.grew))
    found = getattr(said(notice(group=json.dumps([HOSTILE]), per=("user",), anomaly=grew)), form)
    assert not any(char in found for char in "\r\x1b\u202e")
    assert "\nBcc" not in found
    assert not any(each in found for each in ("@everyone", "<@", "<!", "](http"))
    if form == "html":
        assert rendered(found).tags <= {"div", "p", "b", "br", "span", "code", "a"}
        assert "http://evil" not in "".join(found.split("<a ")[1:])
    if form == "markdown":
        assert "\\<\u200b!channel\\>" in found
        assert "[x](" not in found


def test_a_name_has_a_length() -> None:
    assert plain("x" * 1000) == "x" * 120 + "…"
    found = said(notice(group=json.dumps(["x" * 1000] * 4), per=("user", "session", "team", "model")))
    assert len(found.subject) <= 200


@pytest.mark.parametrize(
    ("amount", "unit", "text"),
    [
        (0, "usd", "0 USD"),
        (5, "usd", "0.000005 USD"),
        (999_999, "usd", "0.999999 USD"),
        (1_000_000, "usd", "1 USD"),
        (99_999_999, "usd", "99.99 USD"),
        (1_234_567_890_000, "usd", "1,234,567.89 USD"),
        (1_234_567, "tokens", "1,234,567 tokens"),
        (12, "calls", "12 calls"),
    ],
)
def test_amounts_read_well_and_are_never_rounded_up(amount: int, unit: str, text: str) -> None:
    assert amount_text(amount, unit) == text


def test_a_share_is_rounded_down() -> None:
    assert notice(99.999).used == "99 % of 100 USD"
    assert notice(limit=0, spent=USD).used == "more than all of 0 USD"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 minutes"), (90, "1 minutes"), (7200, "2 hours"), (86_400, "24 hours"), (200_000, "2 days")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_period_beyond_the_calendar_is_told_of_all_the_same() -> None:
    assert "an unknown time" in said(notice(bounds=Bounds(0, 10**12))).text


def test_what_is_brief_has_one_line_and_the_link() -> None:
    assert said(link="https://example.com").brief == (
        "search: 92 % of 100 USD spent (threshold 90 %) https://example.com"
    )


def test_a_link_is_a_link_and_no_more() -> None:
    page = said(link='https://example.com/"><script>').html
    assert rendered(page).tags <= {"div", "p", "b", "br", "span", "code", "a"}
    assert html.escape('"><script>') in page


def test_a_trial_says_that_nothing_happened() -> None:
    assert "No budget crossed a threshold" in trial_texts().text

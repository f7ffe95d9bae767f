"""A budget that crossed a threshold -> what is said about it, as a subject, plain text, Markdown and HTML.

A notice is made of figures alone and kept as JSON; how they read is decided when it is sent. Names of users, models and
groups come from those who send spans: whatever they contain, they stay one line of text, and call nobody.

Units: amounts are micro-USD, tokens or calls, by `unit`; times are Unix seconds.
"""

import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from math import inf
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote
from zoneinfo import ZoneInfo

from spanledger_exporter.budgets.anomalies import Growth
from spanledger_exporter.budgets.budget import UNIT_NAMES
from spanledger_exporter.budgets.document import group_text
from spanledger_exporter.budgets.spending_parts import Part
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.budgets.texts import amount_text as bare_text

Rows = list[tuple[str, str]]
BUDGET_IN_LINK: Final = "{budget}"
GROUPS_SHOWN_MAX: Final = 20
_VALUE_CHARS_MAX: Final = 120
_SUBJECT_CHARS_MAX: Final = 200
_MEANS_SOMETHING: Final = re.compile(r"@(?=everyone|here|channel)|<(?=[@#!])|\](?=\()", re.IGNORECASE)
"""What calls somebody in a chat, or hides where a link leads; a subject has no way to say that it means nothing."""
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>|~#])")
_DAY_S: Final = 86_400
_HOUR_S: Final = 3600


class Texts(NamedTuple):
    """A message, ready to be sent in whatever form a receiver takes; `brief` is for those who take a line or two."""

    subject: str
    text: str
    markdown: str
    html: str
    brief: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """That a budget crossed a threshold, with what was known then.

    `projected` is the end of the period as it is to be expected: low, middle, high. `today` is there if today is unlike
    such days: what was spent, and what is usual; `grew` says by what. `parts` are those with which most was spent.
    `unpriced_calls` are those that are not in what was spent.
    """

    budget: str
    group: str
    unit: str
    hard: bool
    description: str
    threshold: int
    limit: int
    spent: int
    daily_average: int
    projected: tuple[int, int, int] | None
    run_out_s: float | None
    unpriced_calls: int
    period_start_s: int
    period_end_s: int
    timezone: str
    today: tuple[int, int] | None
    grew: tuple[Growth, ...]
    parts: tuple[Part, ...]
    made_s: int

    @classmethod
    def of(cls, state: BudgetState, threshold: int, now_s: int, parts: Sequence[Part] = ()) -> Self:
        """Take down what a budget has come to."""
        budget, ahead, anomaly = state.stored.budget, state.forecast, state.anomaly
        unusual = anomaly if anomaly is not None and anomaly.anomalous else None
        return cls(
            budget=budget.name,
            group=group_text(budget, state.group_key) if budget.per else "",
            unit=budget.unit,
            hard=budget.mode == "hard",
            description=budget.description,
            threshold=threshold,
            limit=state.limit,
            spent=state.spent,
            daily_average=round(state.daily_average or 0),
            projected=None if ahead is None else (ahead.low, ahead.middle, ahead.high),
            run_out_s=state.run_out_s,
            # A budget in tokens or calls, or with a default rate, has counted them.
            unpriced_calls=state.unpriced_calls if budget.unit == "usd" and budget.on_unpriced != "rate" else 0,
            period_start_s=state.bounds.start_s,
            period_end_s=state.bounds.end_s,
            timezone=budget.period.timezone,
            today=None if unusual is None else (unusual.amount, unusual.usual),
            grew=() if unusual is None else unusual.grew,
            parts=tuple(parts),
            made_s=now_s,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a notice that was kept; what a later version added to it is passed over."""
        document: dict[str, Any] = json.loads(text)
        known = {name: document[name] for name in (field.name for field in fields(cls)) if name in document}
        for name in ("projected", "today"):
            known[name] = None if known[name] is None else tuple(known[name])
        known["grew"] = tuple(Growth(*each) for each in known["grew"])
        known["parts"] = tuple(Part(*each) for each in known["parts"])
        return cls(**known)

    def to_json(self) -> str:
        """Return the notice as it is kept."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @property
    def name(self) -> str:
        """The budget, and which of its groups."""
        return f"{self.budget}, {plain(self.group)}" if self.group else self.budget

    @property
    def used(self) -> str:
        """How much of the limit is spent."""
        share = f"{self.spent * 100 // self.limit} %" if self.limit > 0 else "more than all"
        return f"{share} of {amount_text(self.limit, self.unit)}"


def texts(notices: Sequence[Notice], *, link: str = "") -> Texts:
    """Return the message that says one thing, or several of the same budget.

    `link` is where to look closer; `{budget}` in it stands for the budget's name.
    """
    first = notices[0]
    if len(notices) == 1:
        subject, headline, rows = _subject(first), _headline(first), _rows(first)
    else:
        subject = f"[spanledger] {first.budget}: {len(notices)} groups reached a threshold"
        headline = f"{len(notices)} groups of the budget {first.budget} reached a threshold."
        rows = _group_rows(notices)
    ways = [f"spanledger budgets show {first.budget}"]
    address = link.replace(BUDGET_IN_LINK, quote(first.budget, safe=""))
    subject = subject[:_SUBJECT_CHARS_MAX]
    return Texts(
        subject,
        _text(headline, rows, ways, address),
        _markdown(headline, rows, ways, address),
        _html(headline, rows, ways, address),
        " ".join(filter(None, (subject.removeprefix("[spanledger] "), address))),
    )


def trial_texts() -> Texts:
    """Return the message that tries whether a channel works."""
    headline = "This is a test message of Spanledger: this channel works. No budget crossed a threshold."
    rows = [("Sent by", "spanledger alerts test")]
    return Texts(
        "[spanledger] test message",
        _text(headline, rows, (), ""),
        _markdown(headline, rows, (), ""),
        _html(headline, rows, (), ""),
        headline,
    )


def amount_text(amount: int, unit: str) -> str:
    """Return an amount as it stands in a sentence: with its unit, and of whole USD without the cents of a column."""
    return f"{bare_text(amount, unit).removesuffix('.00')} {UNIT_NAMES[unit]}"


def plain(value: str) -> str:
    """Return a name that anybody may have made up as one line of text that means nothing but itself."""
    printable = "".join(char if char.isprintable() else " " for char in value)
    cut = " ".join(printable.split())
    cut = cut if len(cut) <= _VALUE_CHARS_MAX else f"{cut[:_VALUE_CHARS_MAX]}…"
    return _MEANS_SOMETHING.sub("\\g<0>\u200b", cut)


def duration_text(seconds: float) -> str:
    """Return about how long something takes, in the words of a sentence: `3 days`, `5 hours`, `20 minutes`."""
    for size, name in ((_DAY_S, "day"), (_HOUR_S, "hour")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {name}s"
    return f"{max(seconds, 0) // 60:.0f} minutes"


def _subject(notice: Notice) -> str:
    return f"[spanledger] {notice.name}: {notice.used} spent (threshold {notice.threshold} %)"


def _headline(notice: Notice) -> str:
    group = f" ({plain(notice.group)})" if notice.group else ""
    return f"The budget {notice.budget}{group} has reached {notice.threshold} % of its limit."


def _rows(notice: Notice) -> Rows:
    """Return what is said of one budget, each under its head; what is not known is left out."""
    rows = [("Spent", f"{amount_text(notice.spent, notice.unit)}, {notice.used}")]
    if notice.description:
        rows.append(("About", plain(notice.description)))
    left = duration_text(notice.period_end_s - notice.made_s)
    period = " to ".join(_time(each_s, notice.timezone) for each_s in (notice.period_start_s, notice.period_end_s))
    rows.append(("Period", f"{period} ({notice.timezone}), {left} left"))
    rows += [*_most(notice), *_outlook(notice)]
    if notice.unpriced_calls:
        rows.append(("Not in it", f"{notice.unpriced_calls:,} calls of unknown price"))
    at_the_limit = "calls are refused, where services enforce budgets" if notice.hard else "nothing is refused"
    rows += [("At the limit", at_the_limit), ("Seen", _time(notice.made_s, notice.timezone))]
    return rows


def _outlook(notice: Notice) -> Iterator[tuple[str, str]]:
    if notice.projected is not None:
        low, middle, high = (amount_text(each, notice.unit) for each in notice.projected)
        yield "Projected", f"{middle} by the end of the period, likely {low} to {high}"
    if notice.run_out_s is not None and notice.spent < notice.limit:
        left = duration_text(notice.run_out_s - notice.made_s)
        yield "Runs out", f"in about {left}, {_time(notice.run_out_s, notice.timezone)}"
    if notice.daily_average:
        yield "Daily average", amount_text(notice.daily_average, notice.unit)
    if notice.today is not None:
        amount, usual = (amount_text(each, notice.unit) for each in notice.today)
        yield "Unusual", f"{amount} today, usually {usual}"
    for each in notice.grew:
        amounts = (amount_text(amount, notice.unit) for amount in (each.amount, each.usual))
        yield f"Grew most, by {each.dimension}", f"{_value(each.value)}: {' today, usually '.join(amounts)}"


def _most(notice: Notice) -> Iterator[tuple[str, str]]:
    for dimension in dict.fromkeys(part.dimension for part in notice.parts):
        said = (f"{_value(part.value)} {part.percent} %" for part in notice.parts if part.dimension == dimension)
        yield f"Most of it, by {dimension}", ", ".join(said)


def _value(value: str) -> str:
    return plain(value) or "not reported"


def _group_rows(notices: Sequence[Notice]) -> Rows:
    """Return a line for each of several groups, the one that used most of its limit first."""
    ordered = sorted(notices, key=lambda each: each.spent / each.limit if each.limit > 0 else inf, reverse=True)
    rows = [(plain(each.group), f"{each.used} (threshold {each.threshold} %)") for each in ordered[:GROUPS_SHOWN_MAX]]
    if len(ordered) > GROUPS_SHOWN_MAX:
        rows.append(("And others", f"{len(ordered) - GROUPS_SHOWN_MAX} more"))
    return rows


def _time(unix_s: float, timezone: str) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_s, tz=ZoneInfo(timezone)):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError):  # beyond the calendar
        return "an unknown time"


def _text(headline: str, rows: Rows, commands: Sequence[str], link: str) -> str:
    lines = [headline, "", *(f"{head}: {said}" for head, said in rows)]
    lines += ["", *(f"Look closer: {each}" for each in (*commands, link) if each)] if commands or link else []
    return "\n".join(lines)


def _markdown(headline: str, rows: Rows, commands: Sequence[str], link: str) -> str:
    lines = [
        f"**{_escaped(headline)}**",
        "",
        *(f"- **{_escaped(head)}**: {_escaped(said)}" for head, said in rows),
    ]
    closer = [f"`{each}`" for each in commands] + ([f"<{link}>"] if link else [])
    return "\n".join([*lines, *(["", f"Look closer: {' or '.join(closer)}"] if closer else [])])


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def _html(headline: str, rows: Rows, commands: Sequence[str], link: str) -> str:
    """Return a message as HTML, of lines that read well without their style, too: mails have a text made from them."""
    lines = [f'<span style="{_HEAD}">{html.escape(head)}:</span> {html.escape(said)}' for head, said in rows]
    closer = [f"<code>{html.escape(each)}</code>" for each in commands]
    closer += [f'<a href="{html.escape(link)}">{html.escape(link)}</a>'] if link else []
    foot = [f"<p>Look closer: {' or '.join(closer)}</p>"] if closer else []
    parts = [f"<p><b>{html.escape(headline)}</b></p>", f"<p>{'<br>'.join(lines)}</p>", *foot]
    return "\n".join([f'<div style="{_BODY}">', *parts, "</div>"])


_BODY: Final = "font-family:sans-serif;font-size:14px;line-height:1.5;color:#222"
_HEAD: Final = "display:inline-block;min-width:13em;color:#666"

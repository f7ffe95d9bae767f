"""The arithmetic of leases: nothing is spent twice, nothing is lost, nothing goes beyond what was granted."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spanledger_instrumentation import wallet as wallets
from spanledger_instrumentation.bound import Size, amounts
from spanledger_instrumentation.lease_messages import Reply, read_reply
from spanledger_instrumentation.wallet import Denial, Reservation, Scope, Used, Wallet

SCOPE: Scope = (("model", "m"), ("provider", "openai"))
OTHER: Scope = (("model", "other"), ("provider", "openai"))
PERIOD = (0, 86400)
RATES = {"input_pusd": 0, "output_pusd": 10**6, "request_pusd": 0}


def lease(name: str, granted: int, budget: str = "b", **more: Any) -> dict[str, Any]:
    return {
        "lease": name,
        "budget": budget,
        "group": "",
        "unit": "usd",
        "granted": granted,
        "limit": 1000,
        "period_start_s": PERIOD[0],
        "period_end_s": PERIOD[1],
        **more,
    }


def granted(*leases: dict[str, Any], revision: int = 1, rates: Mapping[str, Any] = RATES, **more: Any) -> Reply:
    each = {"want": 0, "leases": list(leases), "rates": dict(rates)}
    return read_reply({"revision": revision, "ttl_s": 300, "granted": [each], **more})


def denied(need: int = 1, *, spent: int = 1000, revision: int = 1, reason: str = "exhausted") -> Reply:
    standing = lease("", 0) | {"want": 0, "spent": spent, "leased": 0, "reason": reason}
    return read_reply({"revision": revision, "ttl_s": 300, "denied": [standing]})


def tokens(count: int) -> Size:
    return Size(0, count)


def apply(wallet: Wallet, reply: Reply, now_s: float = 0, *, scope: Scope = SCOPE, size: int = 1) -> None:
    wallet.asks(scope, tokens(size))
    wallet.apply(reply, [(scope, tokens(size))], now_s)


def taken(wallet: Wallet, count: int, now_s: float = 0, scope: Scope = SCOPE) -> Reservation:
    found = wallet.take(scope, tokens(count), now_s)
    assert isinstance(found, Reservation)
    return found


def used(amount: int) -> Used:
    return Used(amount, amount, 1)


@pytest.fixture
def wallet() -> Wallet:
    return Wallet()


def test_a_scope_that_nobody_has_asked_for_must_be_asked_for(wallet: Wallet) -> None:
    assert wallet.take(SCOPE, tokens(1), 0) is None


def test_a_scope_without_a_budget_passes_and_takes_nothing(wallet: Wallet) -> None:
    apply(wallet, granted())
    assert taken(wallet, 10**9).draws == ()


def test_what_a_call_has_not_used_is_given_back_once(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    call = taken(wallet, 100)
    assert wallet.take(SCOPE, tokens(1), 0) is None
    wallet.settle(call, used(30), reports=True)
    wallet.settle(call, used(30), reports=True)
    (report,) = wallet.reports(0)
    assert (report.used, report.calls) == (30, 1)
    assert taken(wallet, 70)
    assert wallet.take(SCOPE, tokens(1), 0) is None


def test_a_call_that_used_more_than_its_bound_is_named_and_taken_in_full(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    assert wallet.settle(taken(wallet, 60), used(90), reports=True) == ["b"]
    assert wallet.take(SCOPE, tokens(20), 0) is None
    assert wallet.reports(0)[0].used == 90


def test_of_several_budgets_all_are_taken_from_or_none(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100), lease("M", 50, "narrow")))
    assert wallet.take(SCOPE, tokens(60), 0) is None
    assert {draw[0].id for draw in taken(wallet, 50).draws} == {"L", "M"}
    assert wallet.take(SCOPE, tokens(1), 0) is None
    assert [lease.free for lease in (taken_from(wallet, "L"), taken_from(wallet, "M"))] == [50, 0]


def taken_from(wallet: Wallet, name: str) -> Any:
    return next(report.lease for report in wallet.reports(0) if report.lease.id == name)


def test_scopes_of_one_budget_share_its_lease(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    apply(wallet, granted(lease("L", 100)), scope=OTHER)
    taken(wallet, 60)
    assert wallet.take(OTHER, tokens(60), 0) is None
    assert taken(wallet, 40, scope=OTHER)


@pytest.mark.parametrize("moment_s", [PERIOD[1], PERIOD[1] + 1])
def test_a_lease_ends_with_its_period(wallet: Wallet, moment_s: int) -> None:
    apply(wallet, granted(lease("L", 100)), PERIOD[1] - 1)
    assert taken(wallet, 1, PERIOD[1] - 1)
    assert wallet.take(SCOPE, tokens(1), moment_s) is None


def test_a_call_of_before_the_period_is_not_leased_from_it(wallet: Wallet) -> None:
    """As after the clock was set back."""
    apply(wallet, granted(lease("L", 100)), 1)
    assert wallet.take(SCOPE, tokens(1), -1) is None
    assert taken(wallet, 1, 1).lease_ids == ("L",)


@pytest.mark.parametrize("ahead_s", [-10 * 86_400, 10 * 86_400])
def test_where_the_clock_is_off_by_days_the_period_is_held_by_it_all_the_same(wallet: Wallet, ahead_s: int) -> None:
    apply(wallet, granted(lease("L", 100, expires_s=86_100 + 300)), 86_100 + ahead_s)
    assert taken(wallet, 1, 86_399 + ahead_s).lease_ids == ("L",)
    wallet.reported(wallet.reports(86_200 + ahead_s), (), 86_200 + ahead_s)
    assert wallet.take(SCOPE, tokens(1), 86_400 + ahead_s) is None


def test_a_lease_ends_unless_it_is_reported(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    assert taken(wallet, 1, 299)
    wallet.reported(wallet.reports(299), (), 299)
    assert taken(wallet, 1, 598)
    assert wallet.take(SCOPE, tokens(1), 599) is None


def test_reports_are_cumulative_and_in_sequence(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    seen = [wallet.reports(0)[0]]
    for amount in (10, 0, 25):
        wallet.settle(taken(wallet, 30), used(amount), reports=amount > 0)
        seen += wallet.reports(0)
    assert [report.sequence for report in seen] == [1, 2, 3, 4]
    assert [report.used for report in seen] == [0, 10, 10, 35]
    assert [report.calls for report in seen] == [0, 1, 1, 2]


def test_a_lease_that_is_of_no_more_use_is_given_back_when_its_last_call_has_ended(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    call = taken(wallet, 90)
    apply(wallet, granted(lease("M", 100), revision=2))  # all is asked for anew
    assert [report.closed for report in wallet.reports(0)] == [False, False]
    wallet.settle(call, used(1), reports=True)
    reports = wallet.reports(0)
    assert [(report.lease.id, report.closed) for report in reports] == [("L", True), ("M", False)]
    wallet.reported(reports, (), 0)
    assert [report.lease.id for report in wallet.reports(0)] == ["M"]


def test_what_is_left_in_a_lease_that_is_too_small_goes_back_with_the_question(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    assert wallet.take(SCOPE, tokens(101), 0) is None
    wallet.asks(SCOPE, tokens(101))
    assert [report.closed for report in wallet.reports(0)] == [True]


def test_a_lease_that_nobody_uses_goes_back(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    assert not wallet.reports(wallets.IDLE_S)[0].closed
    assert wallet.reports(wallets.IDLE_S + 1)[0].closed


def test_a_lease_that_the_exporter_does_not_know_any_more_is_not_used(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    wallet.reported(wallet.reports(0), {"L"}, 0)
    assert wallet.take(SCOPE, tokens(1), 0) is None
    assert wallet.reports(0)[0].closed


def test_at_the_end_all_goes_back_that_no_call_holds(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100), lease("M", 100, "other")))
    call = taken(wallet, 10)
    assert not any(report.closed for report in wallet.reports(0, ends=True))
    wallet.settle(call, used(1), reports=True)
    assert all(report.closed for report in wallet.reports(0, ends=True))


def test_a_denial_stands_for_a_while_for_as_much_and_less_may_be_asked_for(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 10)), size=1)
    apply(wallet, denied(spent=900), size=50)
    assert isinstance(wallet.take(SCOPE, tokens(50), 0.9), Denial)
    assert wallet.take(SCOPE, tokens(49), 0.9) is None
    assert wallet.take(SCOPE, tokens(50), 1.1) is None


def test_a_denial_does_not_outlive_a_clock_that_is_set_back(wallet: Wallet) -> None:
    apply(wallet, denied(), 80_000)
    assert isinstance(wallet.take(SCOPE, tokens(1), 80_001), Denial)
    assert wallet.take(SCOPE, tokens(1), 1) is None


def test_before_the_rates_are_known_a_denial_does_not_hold_smaller_calls(wallet: Wallet) -> None:
    apply(wallet, denied(), size=100)
    assert isinstance(wallet.take(SCOPE, tokens(100), 0), Denial)
    assert wallet.take(SCOPE, tokens(99), 0) is None


def test_a_budget_that_is_spent_is_asked_for_less_often(wallet: Wallet) -> None:
    apply(wallet, denied(spent=1000))
    assert isinstance(wallet.take(SCOPE, tokens(1), 9), Denial)
    assert wallet.take(SCOPE, tokens(1), 11) is None


def test_a_refused_call_takes_nothing_however_often_it_comes(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 10)), size=1)
    taken(wallet, 1)  # while it goes on, the lease stays
    apply(wallet, denied(spent=900), size=50)
    for _ in range(5):
        assert isinstance(wallet.take(SCOPE, tokens(50), 0), Denial)
    assert taken(wallet, 9)


def test_what_is_asked_for_in_the_background_is_asked_for_once(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 100)))
    assert not taken(wallet, 20).low
    assert taken(wallet, 40).low is False  # a lease for so few calls
    assert taken(wallet, 10).low
    assert not taken(wallet, 10).low
    apply(wallet, granted(lease("M", 100)))
    assert not taken(wallet, 10).low


def test_without_a_hard_budget_the_soft_ones_are_looked_at_now_and_then(wallet: Wallet) -> None:
    apply(wallet, granted())
    assert not taken(wallet, 1, wallets.REFRESH_S).low
    assert taken(wallet, 1, wallets.REFRESH_S + 1).low


@pytest.mark.parametrize(("rule_", "passes"), [("open", True), ("closed", False), ("safe", True)])
def test_what_cannot_be_asked_is_decided_by_the_budget(wallet: Wallet, rule_: str, passes: bool) -> None:
    apply(wallet, granted(lease("L", 10, on_unreachable=rule_, safe_allowance=100)), size=1)
    found = wallet.take_unasked(SCOPE, tokens(60), 0)
    assert isinstance(found, Reservation) is passes
    if rule_ == "open":
        assert isinstance(found, Reservation)
        assert (found.open_budgets, found.draws) == (("b",), ())


def test_a_safe_allowance_is_for_one_period_and_settled_like_a_lease(wallet: Wallet) -> None:
    apply(wallet, granted(lease("L", 10, on_unreachable="safe", safe_allowance=100)), size=1)
    first = wallet.take_unasked(SCOPE, tokens(100), 0)
    assert isinstance(first, Reservation)
    assert first.lease_ids == ()
    refused = wallet.take_unasked(SCOPE, tokens(60), 0)
    assert isinstance(refused, Denial)
    assert refused.reason == "allowance"
    wallet.settle(first, used(40), reports=True)
    assert isinstance(wallet.take_unasked(SCOPE, tokens(60), 0), Reservation)
    assert isinstance(wallet.take_unasked(SCOPE, tokens(60), 0), Denial)
    assert isinstance(wallet.take_unasked(SCOPE, tokens(60), PERIOD[1] + 1), Reservation)
    assert [report.lease.id for report in wallet.reports(0)] == ["L"]


def test_of_an_unknown_scope_nothing_is_decided_unasked(wallet: Wallet) -> None:
    assert wallet.take_unasked(SCOPE, tokens(1), 0) is None
    apply(wallet, denied())  # which does not say what its budget wants then
    assert wallet.take_unasked(SCOPE, tokens(1), 0) is None


def by(user: str, model: str = "m") -> Scope:
    return (("model", model), ("provider", "openai"), ("user", user))


@pytest.mark.parametrize(("rule_", "passes"), [("open", True), ("closed", False), ("safe", True)])
def test_a_user_whom_nobody_has_asked_for_is_held_by_the_budgets_of_all(
    wallet: Wallet, rule_: str, passes: bool
) -> None:
    """Not by the leases of another user, whose group they are of; a model that is not known is not decided of."""
    shared = lease("T", 10, "team", on_unreachable=rule_, safe_allowance=100)
    own = lease("A", 1000, "each", group="user=a", on_unreachable="open")
    apply(wallet, granted(shared, own), scope=by("a"))
    assert isinstance(wallet.take_unasked(by("b"), tokens(5), 0), Reservation)
    found = wallet.take_unasked(by("b"), tokens(50), 0)
    assert isinstance(found, Reservation) is passes
    if isinstance(found, Reservation):
        assert "each" in found.open_budgets
        assert not found.lease_ids
    assert wallet.take_unasked(by("b", "other"), tokens(50), 0) is None


@pytest.mark.parametrize(("rule_", "passes"), [("open", True), ("closed", False), ("safe", False)])
def test_a_budget_of_which_only_a_denial_is_known_decides_too(wallet: Wallet, rule_: str, passes: bool) -> None:
    rule_of = {"on_unreachable": rule_, "safe_allowance": 100, "needed": 160}
    standing = lease("", 0) | {"want": 0, "spent": 1000, "leased": 0, "reason": "exhausted"} | rule_of
    apply(wallet, read_reply({"revision": 1, "ttl_s": 300, "denied": [standing]}))
    assert isinstance(wallet.take_unasked(SCOPE, tokens(1), 3600), Reservation) is passes


def test_a_denial_says_what_the_call_may_need_by_the_exporters_rates(wallet: Wallet) -> None:
    standing = lease("", 0) | {"want": 0, "spent": 0, "leased": 0, "reason": "exhausted", "needed": 160_000}
    apply(wallet, read_reply({"revision": 1, "ttl_s": 300, "denied": [standing]}))
    found = wallet.take(SCOPE, tokens(1), 0)
    assert isinstance(found, Denial)
    assert found.need == 160_000


def test_scopes_are_forgotten_by_age_and_number(wallet: Wallet) -> None:
    for number in range(wallets.PLANS_MAX + 10):
        scope = (("user", str(number)),)
        apply(wallet, granted(), scope=scope)
    assert wallet.take((("user", "0"),), tokens(1), 0) is None
    assert wallet.take((("user", str(wallets.PLANS_MAX)),), tokens(1), 0) is not None
    wallet.apply(granted(), [], wallets.PLAN_S + 1)
    assert wallet.is_empty


def test_of_very_many_leases_each_is_reported_in_its_turn(wallet: Wallet) -> None:
    count = wallets.REPORTS_MAX + 10
    apply(wallet, granted(*(lease(f"L{number}", 1, f"b{number}") for number in range(count))))
    seen = {report.lease.id for now_s in (1, 2) for report in wallet.reports(now_s)}
    assert len(seen) == count


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30))
def test_whatever_calls_use_within_their_bounds_the_lease_is_never_overdrawn(calls: list[tuple[int, int]]) -> None:
    wallet = Wallet()
    apply(wallet, granted(lease("L", 100)))
    spent = 0
    for need, actual in calls:
        found = wallet.take(SCOPE, tokens(need), 0)
        if isinstance(found, Reservation):
            spent += min(need, actual)
            wallet.settle(found, used(min(need, actual)), reports=True)
    assert spent <= 100
    assert wallet.reports(0)[0].used == spent


class Books(RuleBasedStateMachine):
    """A lender with a limit and a wallet, any order of grants, calls, settlements, reports and lost answers."""

    LIMIT = 500

    def __init__(self) -> None:
        super().__init__()
        self.wallet = Wallet()
        self.now_s = 0.0
        self.revision = 1
        self.granted: dict[str, int] = {}
        self.returned: dict[str, int] = {}
        self.open: list[tuple[Reservation, int]] = []
        self.spent = 0

    @property
    def held(self) -> int:
        return sum(self.returned.get(name, amount) for name, amount in self.granted.items())

    @initialize()
    def begin(self) -> None:
        apply(self.wallet, granted())

    @rule(size=st.integers(1, 80), share=st.integers(0, 100), lost=st.booleans())
    def ask(self, size: int, share: int, lost: bool) -> None:
        self.wallet.asks(SCOPE, tokens(size))
        self._report(lost=lost)
        room = self.LIMIT - self.held
        amount = min(max(share, size), room)
        if lost:
            return
        if size > room:
            reply = denied(spent=0, revision=self.revision)
        else:
            name = f"L{len(self.granted)}"
            self.granted[name] = amount
            reply = granted(lease(name, amount), revision=self.revision)
        self.wallet.apply(reply, [(SCOPE, tokens(size))], self.now_s)

    @rule(size=st.integers(0, 80))
    def call(self, size: int) -> None:
        found = self.wallet.take(SCOPE, tokens(size), self.now_s)
        if isinstance(found, Reservation) and found.draws:
            self.open.append((found, amounts(found.rates, found.size)["usd"]))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        call, bound = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        actual = data.draw(st.integers(0, bound))
        self.spent += actual
        self.wallet.settle(call, used(actual), reports=True)

    @rule(lost=st.booleans())
    def report(self, lost: bool) -> None:
        self._report(lost=lost)

    @rule(seconds=st.sampled_from([1, 61]))
    def wait(self, seconds: int) -> None:
        self.now_s += seconds

    @rule()
    def change(self) -> None:
        self.revision += 1

    def _report(self, *, lost: bool) -> None:
        reports = self.wallet.reports(self.now_s)
        for report in reports:
            if report.closed:
                self.returned[report.lease.id] = report.used
        if not lost:  # else the exporter has it, and we do not know
            self.wallet.reported(reports, (), self.now_s)

    @invariant()
    def nothing_goes_beyond_the_limit(self) -> None:
        assert self.spent + sum(bound for _, bound in self.open) <= self.LIMIT


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase

"""With which models and services most of a budget's period was spent."""

from typing import Any

from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.budgets.spending_parts import Part, parts
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.budgets import call, ledger_of

HOUR_S = 3600
START_S = 1_795_824_000  # 2026-11-28T00:00:00Z
DAY = Bounds(START_S, START_S + 24 * HOUR_S)
MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-4.1-mini")


def parts_of(database: Database, budget: Budget, **group: str | None) -> tuple[Part, ...]:
    with database.read() as connection:
        return parts(connection, budget, group, DAY)


def filled(database: Database, book: PriceBook) -> None:
    """Tokens by hour, model and service: of the day, and of the hours before and after it."""

    def made(hour: float, tokens: int, model: int = 0, service: str = "shop", **changes: Any) -> Any:
        at_ns = round((START_S + hour * HOUR_S) * 10**9)
        return call(
            book,
            at_ns,
            tokens=tokens,
            service=service,
            request_model=MODELS[model],
            response_model=MODELS[model],
            response_id=None,
            **changes,
        )

    calls = [made(-0.5, 999), made(24.5, 999), made(0.1, 500), made(5, 300, 1), made(6, 150, 2, "desk", team="ml")]
    ledger_of(database, book, [*calls, made(23.9, 50, 3)], now_ns=(START_S + 30 * HOUR_S) * 10**9)


def tokens(**changes: Any) -> Budget:
    return Budget(name="b", limit=1000, unit="tokens", **changes)


def test_the_largest_parts_come_first_and_are_few(database: Database, book: PriceBook) -> None:
    filled(database, book)
    assert parts_of(database, tokens()) == (
        Part("model", "gpt-4o-mini", 50),
        Part("model", "gpt-4o", 30),
        Part("model", "gpt-4.1", 15),
        Part("service", "shop", 85),
        Part("service", "desk", 15),
    )


def test_only_what_the_budget_and_the_group_are_about_counts(database: Database, book: PriceBook) -> None:
    filled(database, book)
    desk = (Part("model", "gpt-4.1", 100), Part("service", "desk", 100))
    assert parts_of(database, tokens(scope={"service": ("des*",)})) == desk
    assert parts_of(database, tokens(per=("team",)), team="ml") == desk
    assert parts_of(database, tokens(scope={"model": ("gpt-5",)})) == ()


def test_of_what_the_sums_do_not_tell_nothing_is_said(database: Database, book: PriceBook) -> None:
    filled(database, book)
    assert parts_of(database, tokens(per=("user",)), user="anna") == ()
    assert parts_of(database, tokens(scope={"api_key": ("x",)})) == ()


def test_money_and_calls_have_parts_of_their_own(database: Database, book: PriceBook) -> None:
    filled(database, book)
    calls = parts_of(database, Budget(name="b", limit=10, unit="calls"))
    assert calls[0] == Part("model", "gpt-4.1", 25)
    assert parts_of(database, Budget(name="b", limit=10))[0].value == "gpt-4o"  # the dearest

"""The documentation says what the code has: nothing is undocumented, and nothing documented is gone.

Both sides are asked, never listed here: the code for its settings, parsers, registries and tables; the pages for the
rows of their tables, their code blocks and their links.
"""

import argparse
import dataclasses
import re
import shlex
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
import yaml
from opentelemetry import environment_variables as api_variables
from opentelemetry.instrumentation import environment_variables as instrumentation_variables
from opentelemetry.sdk import environment_variables as sdk_variables
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from spanledger_demo.collector import BINARY_VARIABLE
from spanledger_exporter import cli, config, dialects, failpoints, records, variables
from spanledger_exporter.budgets import anomalies, budget, budget_file, budget_reader, forecast, groups, periods
from spanledger_exporter.budgets.budget import Budget, StoredBudget, Unit
from spanledger_exporter.budgets.evaluator import Evaluation
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.leases.messages import Decided
from spanledger_exporter.ledger import schema, usage_columns
from spanledger_exporter.ledger.cells import Cell, cell_of
from spanledger_exporter.ledger.database import open_database, open_readonly
from spanledger_exporter.ledger.ledger import Appended, Ledger
from spanledger_exporter.ledger.rollups import Sums, sums_of
from spanledger_exporter.metrics import budget_metrics, metrics, spend
from spanledger_exporter.metrics.dimensions import DEFAULT_DIMENSIONS
from spanledger_exporter.metrics.month import Month, MonthMetrics
from spanledger_exporter.prices import price_file
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.settings import SETTINGS, default_ledger_url
from spanledger_exporter.top import overview, view
from spanledger_exporter.top.documents import to_document
from spanledger_instrumentation import attributes, environment_variables, rate_limits, used_limits
from spanledger_instrumentation import metrics as client_metrics
from spanledger_instrumentation.providers.hosts import PROVIDERS
from tests.exporter.calls import priced, record
from tests.exporter.otlp_requests import key_values
from tests.exporter.top import samples
from tests.servers import prometheus

ROOT = Path(__file__).parent.parent
PAGES = tuple(sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]))
PACKAGES = tuple(ROOT.glob("*/spanledger_*/"))


class Row(NamedTuple):
    """One row of a table: its page's section, and its cells by their heads."""

    section: str
    cells: dict[str, str]


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    lines: tuple[str, ...]


@cache
def text_of(page: Path) -> str:
    return page.read_text()


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[Block]:
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
        yield Block(language, tuple(body.splitlines()))


def rows(page: Path, first_head: str) -> Iterator[Row]:
    """Rows of those tables of a page whose first column has this head."""
    section, heads = "", None
    for line in prose(page).splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ").replace("`", "")
        if not line.startswith("|"):
            heads = None
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if heads is None:
            heads = cells
        elif heads[0] == first_head and not set(line) <= set("|-: "):
            assert len(cells) == len(heads), f"{page.name}: {line}"
            yield Row(section, dict(zip(heads, cells, strict=True)))


def docs(name: str, first_head: str) -> list[Row]:
    found = list(rows(ROOT / "docs" / name, first_head))
    assert found, f"docs/{name} has no table of which the first column is {first_head!r}"
    return found


def code(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def names(name: str, first_head: str) -> list[str]:
    return [code(row.cells[first_head])[0] for row in docs(name, first_head)]


def public_constants(module: object) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


# -- settings and variables ----------------------------------------------------------------------------------


def test_every_setting_is_documented_with_its_variable_flag_and_default() -> None:
    rows = {code(row.cells["key"])[0]: row.cells for row in docs("configuration.md", "key")}
    assert rows.keys() == {setting.key for setting in SETTINGS}
    for setting in SETTINGS:
        cells = rows[setting.key]
        assert code(cells["variable"]) == [setting.variable]
        assert code(cells["flag"]) == ([setting.flag] if setting.flag else [])
        shown = (code(cells["default"]) or [""])[0]  # what names a file names none by default
        if setting.default is default_ledger_url:  # another on each machine
            assert setting.default().endswith(f"/{shown}")
        else:
            assert shown == setting.default()


def test_the_configuration_files_of_the_docs_load(tmp_path: Path) -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.language == "toml"]
    assert shown
    for block in shown:
        file = tmp_path / "shown.toml"
        file.write_text("\n".join(block.lines))
        if any(line.startswith("[[override]]") for line in block.lines):
            price_file.read(str(file))
        elif any(line.startswith("[[budget]]") for line in block.lines):
            assert budget_file.read(str(file))
        else:
            config.load(file=str(file), environ={})


def test_every_key_of_a_budget_and_every_default_is_documented() -> None:
    keys = [key for row in docs("budgets.md", "key of a budget") for key in code(row.cells["key of a budget"])]
    assert set(keys) == set(budget_reader.KEYS)
    rows = {
        code(row.cells["key of a budget"])[0]: row.cells["meaning"] for row in docs("budgets.md", "key of a budget")
    }
    default = budget.Budget(name="a", limit=1)
    for key, value in (
        ("period", default.period.kind), ("timezone", default.period.timezone), ("mode", default.mode),
        ("on_unpriced", default.on_unpriced), ("on_unreachable", default.on_unreachable),
    ):  # fmt: skip
        assert f"`{value}` (default)" in rows[key] or f"default `{value}`" in rows[key]
    for key, choices in (
        ("period", periods.KINDS), ("mode", budget.MODES), ("on_unpriced", budget.ON_UNPRICED),
        ("on_unreachable", budget.ON_UNREACHABLE),
    ):  # fmt: skip
        assert set(choices) <= set(code(rows[key]))
    assert str(list(default.thresholds)) in rows["thresholds"]
    page = text_of(ROOT / "docs" / "budgets.md")
    assert all(f"`{name}`" in page for name in budget.DIMENSIONS)
    assert f"{groups.GROUPS_MAX:,}" in page
    assert f"{groups.LEASED_GROUPS_MAX:,}" in page


def test_every_variable_of_the_instrumentation_is_documented() -> None:
    documented = set(names("configuration-instrumentation.md", "variable"))
    ours = {name for name in documented if "SPANLEDGER" in name}
    assert ours == public_constants(environment_variables)
    assert documented - ours <= public_constants(api_variables) | public_constants(sdk_variables) | public_constants(
        instrumentation_variables
    )


def collector_variables() -> dict[str, str]:
    """The variables of the collector's configuration and their defaults; those in its comments count."""
    found = re.findall(r"\$\{env:([A-Z_]+)(?::-((?:\$\{env:\w+\}|[^}])*))?\}", text_of(ROOT / "otel-collector.yaml"))
    return {name: default for name, default in found if name.startswith("SPANLEDGER_")}


def test_every_variable_of_the_collector_is_documented_with_its_default() -> None:
    rows = {code(row.cells["variable"])[0]: code(row.cells["default"]) for row in docs("collector.md", "variable")}
    defaults = {name: default.replace("${env:HOME}", "$HOME") for name, default in collector_variables().items()}
    shown = {name: "".join(default).replace("\\|", "|") for name, default in rows.items()}
    assert shown == defaults


def test_no_variable_is_named_that_nothing_reads() -> None:
    known = {variables.CONFIG_VARIABLE, BINARY_VARIABLE, *collector_variables()}
    known |= {setting.variable for setting in SETTINGS} | {failpoints.VARIABLE}
    known |= public_constants(environment_variables)
    known |= set(re.findall(r"\bSPANLEDGER_[A-Z_]*[A-Z]\b", (ROOT / "docker-compose.yaml").read_text()))
    for page in PAGES:
        named = set(re.findall(r"\b(?:OTEL_INSTRUMENTATION_)?SPANLEDGER_[A-Z_]*[A-Z]\b", text_of(page)))
        assert named <= known, page


# -- metrics -------------------------------------------------------------------------------------------------


def expose_budgets(registry: CollectorRegistry) -> None:
    """Expose the metrics of a budget of each unit that has everything that a metric may be about."""
    days = forecast.Forecast(1, 2, 3, "days", 7)
    bounds, anomaly = periods.Bounds(0, 10), anomalies.Anomaly(0, 1, 1, 0.5, "mean")
    states = [
        BudgetState(StoredBudget(number, Budget(name=unit, limit=10, unit=unit), "command", 0), "", bounds, at_s=5,
                    limit=10, spent=1, leased=1, unaccounted=1, remaining=8, cost_pusd=1, calls=1, tokens=1,
                    unpriced_calls=0, spent_total=1, daily_average=1, forecast=days, run_out_s=7, days_left=1,
                    calls_left=None, anomaly=anomaly)
        for number, unit in enumerate(get_args(Unit))
    ]  # fmt: skip
    stored = [state.stored for state in states]
    evaluation = Evaluation(5, 0.1, stored, states, {each.budget_id: {0: 1} for each in stored}, {"usd": 0})
    budget_metrics.BudgetMetrics(registry, lambda: evaluation, lambda: 0).on_states(states)
    budget_metrics.EnforcementMetrics(registry).decided([Decided("usd", "admitted", 1)])


def expose_month(registry: CollectorRegistry) -> None:
    month = Month(time.time(), {("",) * len(DEFAULT_DIMENSIONS.names): 1}, forecast.Forecast(1, 2, 3, "days", 9))
    MonthMetrics(registry, lambda _now_s: month, DEFAULT_DIMENSIONS.names).look()


@cache
def exposed() -> dict[str, tuple[str, frozenset[str]]]:
    """Each metric of real registries with one of every kind of call in them: its name, type and labels."""
    registry = CollectorRegistry()
    limits = {f"spanledger.rate_limit.tokens.{part}": 1 for part in ("limit", "remaining", "reset_at")}
    raws = tuple(pair.SerializeToString() for pair in key_values(limits))
    metrics.IngestMetrics(registry).told_limits([record(rate_limits=raws, end_ns=time.time_ns())])
    metrics.PriceMetrics(registry).priced_with("a list", 0)
    metrics.ScrapeMetrics(registry)
    metrics.MaintenanceMetrics(registry, lambda: 0)
    metrics.NotifierMetrics(registry)
    of_ledger = metrics.LedgerMetrics(registry, {}, lambda: 0)
    book = packaged_book()
    calls = [priced(book), priced(book, usage_status="unreported", usage=records.Usage())]
    calls.append(priced(book, outcome="error", error_type="429", resend_count=1))
    cells = [cell_of(call) for call in calls]
    sums: dict[Cell, Sums] = {cell: sums_of(call) for cell, call in zip(cells, calls, strict=True)}
    of_ledger.committed(Appended(calls, cells, sums, {}), 0.01)
    expose_budgets(registry)
    expose_month(registry)
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for family in registry.collect():
        labels = frozenset(name for sample in family.samples for name in sample.labels)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.samples, f"{name} has no sample, so that its labels cannot be seen"
        found[name] = (family.type, labels - {"le"})
    return found


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    documented = {
        code(row.cells["metric"])[0]: (row.cells["type"], frozenset(code(row.cells["labels"])))
        for row in docs("metrics.md", "metric")
    }
    assert documented == exposed()


def test_every_metric_says_how_replicas_are_put_together() -> None:
    ways = {code(row.cells["metric"])[0]: row.cells["replicas"] for row in docs("metrics.md", "metric")}
    assert set(ways.values()) == {row.cells["replicas"] for row in docs("metrics.md", "replicas")}
    counted_apart = {name for name, (kind, _) in exposed().items() if kind == "histogram"}
    assert {ways[name] for name in counted_apart} == {"sum"}


def test_every_metric_of_the_instrumentation_is_documented_with_its_kind_and_unit() -> None:
    documented = [
        (code(row.cells["metric"])[0], row.cells["kind"], *code(row.cells["unit"]))
        for row in docs("metrics-instrumentation.md", "metric")
    ]
    assert documented == [(each.name, each.kind, each.unit) for each in client_metrics.METRICS]
    for each in client_metrics.METRICS:
        (row,) = (
            row for row in docs("metrics-instrumentation.md", "metric") if f"`{each.name}`" in row.cells["metric"]
        )
        assert each.old == ("only for those who ask for the older names" in row.cells["what is measured"])


def test_the_bounds_of_the_instrumentations_metrics_are_documented() -> None:
    shown = [int(row.cells["bound"]) for row in docs("metrics-instrumentation.md", "what")]
    assert shown == [client_metrics.PENDING_MAX, client_metrics.SERIES_MAX, used_limits.LIMITS_MAX]


def test_every_token_type_is_documented() -> None:
    registry = CollectorRegistry()
    call = priced(packaged_book())
    metrics.SpendMetrics(registry, {cell_of(call): sums_of(call)})
    kinds = [sample.labels.get("token_type") for family in registry.collect() for sample in family.samples]
    assert names("metrics.md", "token_type") == [kind for kind in kinds if kind]


def test_every_cost_type_is_documented() -> None:
    assert names("metrics.md", "cost_type") == [*spend.COST_TYPES, spend.UNKNOWN]


def test_no_metric_is_named_that_is_not_exposed() -> None:
    known = {name + suffix for name in exposed() for suffix in ("", "_bucket", "_sum", "_count")}
    known |= {package.name for package in PACKAGES}
    # As Prometheus has the instrumentation's gauges; what stands beside a colon is what our rules record.
    known |= {each.name.replace(".", "_") + "_ratio" for each in client_metrics.METRICS if each.kind == "gauge"}
    for page in PAGES:
        assert (
            set(re.findall(r"(?<!:)\b(?:genai|spanledger)_[a-z_]+\b(?!:)", text_of(page)))
            - {"genai_prices_book", "genai_otel"}
            <= known
        ), page


def test_the_expressions_of_the_docs_are_promql(tmp_path: Path) -> None:
    shown = ["\n".join(block.lines) for page in PAGES for block in blocks(page) if block.language == "promql"]
    lines = [line for text in shown for line in re.split(r"\n(?! )", text)]  # what is indented goes on
    expressions = [line for line in lines if not line.startswith("#")]
    rules = [{"record": f"shown:{number}", "expr": each} for number, each in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "docs", "rules": rules}]}))
    assert f"{len(rules)} rules found" in prometheus.promtool("check", "rules", file)


# -- spans, ledger, prices -----------------------------------------------------------------------------------


def span_attributes() -> set[str]:
    return set(names("span-attributes.md", "attribute"))


def rate_limit_kinds() -> list[str]:
    """The kinds that docs/span-attributes.md lists where it says what `{kind}` is."""
    (listed,) = re.findall(r"`\{kind\}` is (.*?);", text_of(ROOT / "docs" / "span-attributes.md"), flags=re.DOTALL)
    return code(listed)


def test_the_kinds_of_rate_limits_are_those_that_are_written_and_read() -> None:
    written = {field.limit.split(".")[2] for field in rate_limits.FIELDS.values()}
    assert written <= set(rate_limit_kinds())
    assert rate_limit_kinds() == list(dialects.RATE_LIMIT_KINDS)


def test_every_attribute_that_the_instrumentation_writes_is_documented() -> None:
    assert span_attributes() == public_constants(attributes)


def test_every_attribute_that_the_exporter_reads_is_documented() -> None:
    others = [row.cells for row in docs("dialects.md", "other name")]
    assert {code(row["read as"])[0] for row in others} <= span_attributes()
    understood = {code(row["other name"])[0] for row in others}
    understood |= {*names("dialects.md", "helping attribute"), *names("dialects.md", "text of figures")}
    assert understood <= dialects.SPAN_ATTRIBUTES
    written = {name.replace("{kind}", kind) for name in span_attributes() for kind in rate_limit_kinds()}
    assert understood | written >= dialects.SPAN_ATTRIBUTES
    assert set(names("dialects.md", "recorded answer")) == dialects.ANSWER_ATTRIBUTES
    assert set(names("dialects.md", "resource attribute")) == dialects.RESOURCE_ATTRIBUTES


def test_every_dialect_is_documented_with_its_rank_and_what_tells_it() -> None:
    rows = {code(row.cells["dialect"])[0]: row.cells for row in docs("dialects.md", "dialect")}
    assert rows.keys() == {row.dialect for row in dialects.ROWS} | {"otel_legacy"}
    assert {name: int(row["rank"]) for name, row in rows.items()} == {name: dialects.rank(name) for name in rows}
    for row in dialects.ROWS:
        shown = rows[row.dialect]["recognised by"]
        assert [scope for scope in row.scopes if f"`{scope}…`" not in shown] == []
        assert [key for key in row.keys if (key if isinstance(key, str) else key[1]) not in code(shown)] == []


def test_every_counted_operation_and_provider_name_is_documented() -> None:
    assert set(names("dialects.md", "operation")) == dialects.COUNTED_OPERATIONS
    operations = [row.cells for row in docs("dialects.md", "older operation")]
    assert {code(row["older operation"])[0]: code(row["operation"])[0] for row in operations} == {
        older: name for older, name in dialects.OPERATION_NAMES.items() if older != name
    }
    renamed = [row.cells for row in docs("dialects.md", "older name") if "current name" in row.cells]
    assert {code(row["older name"])[0]: code(row["current name"])[0] for row in renamed} == dialects.PROVIDER_NAMES


def test_every_provider_is_documented_with_its_hosts() -> None:
    rows = docs("configuration-instrumentation.md", "provider")
    shown = {code(row.cells["provider"])[0]: row.cells["hosts"] for row in rows}
    assert list(shown) == [provider.name for provider in PROVIDERS]
    for provider in PROVIDERS:
        assert set(code(shown[provider.name])) >= set(provider.services or provider.hosts)


def test_every_column_of_the_ledger_is_documented() -> None:
    documented: dict[str, list[str]] = {}
    for row in docs("ledger.md", "column"):
        documented.setdefault(row.section, []).append(code(row.cells["column"])[0])
    tables = {**schema.views.tables, **schema.metadata.tables}
    assert documented == {name: table.columns.keys() for name, table in tables.items()}


def test_every_class_of_usage_without_a_column_is_documented() -> None:
    assert names("ledger.md", "class") == list(usage_columns.OTHER_CLASSES)


def test_every_reason_and_status_of_a_price_is_documented() -> None:
    assert names("prices.md", "reason") == list(get_args(records.UnpricedReason))
    assert names("prices.md", "status") == list(get_args(records.PriceStatus))
    column = next(
        row.cells["meaning"] for row in docs("ledger.md", "column") if "`usage_status`" in row.cells["column"]
    )
    assert code(column) == list(get_args(records.UsageStatus))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_queries_of_the_docs_find_a_call(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    book = packaged_book()
    call = priced(book, usage=records.Usage(10, 0))  # 1.5 micro-USD: both columns of a sum of money are used
    ledger = Ledger(open_database(url), cells_max=10)
    ledger.keep_book(book)
    ledger.append([call])
    ledger.close()
    queries = [block for page in PAGES for block in blocks(page) if block.language == "sql"]
    lines = [line for query in queries for line in query.lines if not line.startswith("--")]
    with closing(open_readonly(url)) as database, database.read() as connection:
        for statement in "\n".join(lines).split(";")[:-1]:
            (found,) = connection.execute(text(statement)).mappings()
            assert found["service"] == "shop"
            assert float(found["usd"]) == pytest.approx(1.5e-6)


# -- commands ------------------------------------------------------------------------------------------------


def commands() -> dict[str, argparse.ArgumentParser]:
    return dict(beneath("spanledger", cli.parser()))


def beneath(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command and those that it is divided into."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part, inner in action.choices.items():
                yield from beneath(f"{name} {part}", inner)


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


def test_every_command_and_flag_is_documented() -> None:
    documented: dict[str, set[str]] = {}
    for name in ("commands.md", "demo.md"):
        for row in docs(name, "flag"):
            found = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row.cells["flag"])
            documented.setdefault(row.section, set()).update(found)
    everywhere = {"-h", "--help"}
    own = {name: flags(parser) - (everywhere if " " in name else set()) for name, parser in commands().items()}
    assert documented == {name: found for name, found in own.items() if found}


def shown_commands() -> Iterator[tuple[Path, list[str]]]:
    for page in PAGES:
        for block in blocks(page):
            for line in "\n".join(block.lines).replace("\\\n", "").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True) if "spanledger " in line else []
                if words[:1] == ["spanledger"] and not words[1].endswith(":"):  # the latter is a message of ours
                    yield page, words[1:]


def test_every_command_that_the_docs_show_can_be_typed() -> None:
    shown = list(shown_commands())
    assert shown
    for page, words in shown:
        try:
            cli.parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{page.name}: spanledger {shlex.join(words)}")


def test_every_key_of_top_is_documented() -> None:
    keys = [key for row in docs("top.md", "key") for key in code(row.cells["key"])]
    assert sorted(keys) == sorted(key for key, _ in view.HELP)


def test_every_key_of_an_overview_is_documented_with_its_bounds() -> None:
    page = text_of(ROOT / "docs" / "top.md")
    documented = [key for row in docs("top.md", "key of an overview") for key in code(row.cells["key of an overview"])]
    assert documented == list(to_document(samples.overview()))
    for part in (overview.Line, overview.Minute, overview.BudgetLine, overview.BudgetGroups, overview.Call,
                 overview.Outlook, overview.Figures):  # fmt: skip
        for field in dataclasses.fields(part):
            name = re.sub("_s$", "", re.sub("_pusd$", "_usd", field.name))
            assert f"`{name}`" in page, name
    bounds = (overview.LINES_MAX, overview.BUDGETS_MAX, overview.CALLS_MAX)
    assert all(f"at most {bound} of" in page for bound in bounds)
    assert f"{overview.MINUTES} of `start`" in page
    assert f"cut after {overview.TEXT_CHARS_MAX}" in page.replace("\n", " ")


# -- what pages refer to -------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", text_of(index))}
    assert linked == set((ROOT / "docs").rglob("*.md")) - {index}


def files(name: str) -> Iterable[Path]:
    """The files of the project that a page may mean: a path from the top, or a name within the packages."""
    if (ROOT / name).exists():
        return [ROOT / name]
    return [file for package in PACKAGES for file in package.rglob(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_module_that_is_named_exists(page: Path) -> None:
    for name in set(re.findall(r"(?<![\w/.-])[\w./-]+\.(?:py|yaml|yml)\b", text_of(page))):
        assert files(name), name


def test_every_make_target_is_documented_and_every_named_one_exists() -> None:
    declared = re.findall(r"^\.PHONY: (.*)$", text_of(ROOT / "Makefile"), flags=re.MULTILINE)[0].split()
    explained = set(re.findall(r"^([a-z]+):.*## ", text_of(ROOT / "Makefile"), flags=re.MULTILINE))
    table = {code(row.cells["target"])[0].removeprefix("make ") for row in rows(ROOT / "CONTRIBUTING.md", "target")}
    assert table == explained <= set(declared)
    for page in PAGES:
        shown = [line for block in blocks(page) for line in block.lines] + code(prose(page))
        named = {found[1] for line in shown if (found := re.match(r"make ([a-z]+)\b", line))}
        assert named <= explained, page


def test_every_extra_that_the_docs_install_exists() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    named = {
        extra
        for page in PAGES
        for extras in re.findall(r"spanledger\[([\w,]+)\]", text_of(page))
        for extra in extras.split(",")
    }
    assert named
    assert named <= project["optional-dependencies"].keys()
    listed = re.findall(r"The extras are (.*?)\.\n", text_of(ROOT / "README.md"), flags=re.DOTALL)[0]
    assert set(code(listed)) == project["optional-dependencies"].keys()
    assert f"## [{project['version']}]" in text_of(ROOT / "CHANGELOG.md")


def test_every_decision_has_its_parts_and_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for number, page in enumerate(pages, 1):
        titles = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
        assert titles[0].startswith(f"{number}. ")
        assert titles[1:] == ["Context", "Decision", "Consequences"], page.name


def test_the_collectors_ports_in_the_docs_are_those_of_its_configuration() -> None:
    receivers = yaml.safe_load(text_of(ROOT / "otel-collector.yaml"))["receivers"]["otlp"]["protocols"]
    for protocol in receivers.values():
        port = re.findall(r":(\d+)\}$", protocol["endpoint"])[0]
        assert f":{port}" in text_of(ROOT / "docs/collector.md")

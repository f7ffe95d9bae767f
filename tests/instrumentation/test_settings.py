from spanledger_instrumentation import settings


def test_nothing_is_excluded_by_default() -> None:
    assert not settings.load({}).excludes("api.openai.com")


def test_a_host_stands_for_its_subdomains() -> None:
    loaded = settings.load({"OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS": " Example.com, localhost,,"})
    assert loaded.excludes("example.com")
    assert loaded.excludes("llm.example.com")
    assert not loaded.excludes("notexample.com")

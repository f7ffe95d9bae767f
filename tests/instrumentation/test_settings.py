import pytest

from spanledger_instrumentation import settings


def test_nothing_is_excluded_by_default() -> None:
    assert not settings.load({}).excludes("api.openai.com")


def test_a_host_stands_for_its_subdomains() -> None:
    loaded = settings.load({"OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS": " Example.com, localhost,,"})
    assert loaded.excludes("example.com")
    assert loaded.excludes("llm.example.com")
    assert not loaded.excludes("notexample.com")


def test_a_host_gets_the_name_of_a_provider() -> None:
    loaded = settings.load({"OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS": "127.0.0.1=groq, ::1=ollama"})
    assert {host: provider.name for host, provider in loaded.hosts.items()} == {"127.0.0.1": "groq", "::1": "ollama"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS", "127.0.0.1:8080=groq"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS", "https://llm.example.com=groq"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS", "llm.example.com=mistral"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS", "llm.example.com"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS", "llm.example.com:8080"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS", "http://llm.example.com"),
    ],
)
def test_what_no_host_can_equal_is_left_out_with_a_warning(
    variable: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings.load({variable: value}) == settings.load({})
    assert f"{variable}: '{value}' is left out" in caplog.text

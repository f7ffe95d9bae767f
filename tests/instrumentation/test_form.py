"""Forms, as four clients write them."""

import email.message
import io
import json
from typing import Any

import httpx
import httpx2
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation import form

FIELDS = {"model": "whisper-1", "stream": "true", "n": "2", "temperature": "0.5", "prompt": "7"}
READ = {"model": "whisper-1", "stream": True, "n": 2, "temperature": 0.5, "prompt": "7"}


def written_by(library: str, file: bytes) -> tuple[bytes, str]:
    """The body and content type of an upload."""
    files = {"file": ("speech.mp3", io.BytesIO(file), "audio/mpeg")}
    if library == "requests":
        prepared = requests.Request("POST", "http://a.example", data=FIELDS, files=files).prepare()
        assert isinstance(prepared.body, bytes)
        return prepared.body, prepared.headers["content-type"]
    module: Any = {"httpx": httpx, "httpx2": httpx2}[library]
    request = module.Request("POST", "http://a.example", data=FIELDS, files=files)
    return request.read(), request.headers["content-type"]


@pytest.mark.parametrize("library", ["httpx", "httpx2", "requests"])
@pytest.mark.parametrize("size", [0, 10, 100_000, 3_000_000])
def test_the_short_text_fields_are_read_and_the_file_is_not(library: str, size: int) -> None:
    content, content_type = written_by(library, b'{"model": "CANARY"}\r\n\r\n'[:size] * (size // 10 + 1))
    document = form.read(content, content_type)
    assert {name: document.read(name) for name in FIELDS} == READ
    assert not document.has("file")


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def read(content: bytes, content_type: str = "multipart/form-data; boundary=b") -> dict[str, Any]:
    document = form.read(content, content_type)
    return {name: document.read(name) for name in ("model", "file", "stream") if document.has(name)}


def test_fields_behind_a_long_file_are_read() -> None:
    content = part("file", b"x" * 500_000, '; filename="a.mp3"') + part("model", b"m") + b"--b--\r\n"
    assert read(content) == {"model": "m"}


def test_a_field_that_is_cut_is_left_out() -> None:
    assert read(part("stream", b"true") + part("model", b"whis")[:-2]) == {"stream": True}


def test_the_first_of_two_fields_counts_and_of_a_long_one_only_that_it_is_there() -> None:
    twice = part("model", b"one") + part("model", b"two") + part("stream", b"x" * 300)
    assert read(twice + b"--b--\r\n") == {"model": "one", "stream": ""}


def test_many_fields_are_bounded() -> None:
    content = b"".join(part(f"f{index}", b"x") for index in range(1000)) + part("model", b"m") + b"--b--\r\n"
    assert read(content) == {}


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"]
)
def test_without_its_boundary_a_form_says_nothing(content_type: str) -> None:
    assert read(part("model", b"m") + b"--b--\r\n", content_type) == {}


def test_a_quoted_boundary_is_one() -> None:
    assert read(part("model", b"m") + b"--b--\r\n", 'multipart/form-data; charset=utf-8; Boundary="b"') == {
        "model": "m"
    }


@given(content=st.binary(max_size=300), content_type=st.text(max_size=40))
def test_any_bytes_are_read_without_an_error(content: bytes, content_type: str) -> None:
    form.read(content, content_type)
    form.read(part("model", content) + content, "multipart/form-data; boundary=b")


def test_fields_of_a_body_that_is_streamed() -> None:
    fields: list[tuple[str, object]] = [("model", b"whisper-1"), ("stream", "true"), ("x", object()), ("n", "1e5")]
    document = form.document(fields)
    found = {name: document.read(name) for name, _ in fields}
    assert found == {"model": "whisper-1", "stream": True, "x": None, "n": "1e5"}
    assert json.dumps(found)


def test_the_header_is_read_as_python_s_own_parser_reads_it() -> None:
    message = email.message.Message()
    message["content-type"] = 'multipart/form-data; boundary="a b"'
    content = part("model", b"m").replace(b"--b", b"--a b") + b"--a b--\r\n"
    assert message.get_param("boundary") == "a b"
    assert read(content, message["content-type"]) == {"model": "m"}

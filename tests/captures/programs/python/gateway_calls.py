"""OpenAI's SDK against LiteLLM's proxy, which traces as another service and passes the calls on to the provider."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from setup import MANUAL, QUESTION, activate, flush, request_handled

MODELS = ("gpt-4o-mini", "gpt-5-mini", "text-embedding-3-small")
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
CHAT: Any = {"model": "gpt-4o-mini", "messages": MESSAGES}
WITH_USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}
START_DEADLINE_S = 90


def config() -> dict[str, Any]:
    base, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_base": base, "api_key": key}}
        for name in MODELS
    ]
    return {
        "model_list": models,
        "general_settings": {"master_key": key},
        "litellm_settings": {"callbacks": ["otel"], "num_retries": 0},
    }


@contextlib.contextmanager
def gateway() -> Iterator[str]:
    """Run the proxy, and give its URL once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text(json.dumps(config()))  # JSON is YAML
        words = [Path(sys.executable).parent / "litellm", "--config", "config.yaml", "--host", "127.0.0.1"]
        environment = os.environ | {"OTEL_SERVICE_NAME": "gateway", "OTEL_EXPORTER": "otlp_http"}
        process = subprocess.Popen([*words, "--port", str(port)], cwd=folder, env=environment, stdout=sys.stderr)
        try:
            await_answer(f"http://127.0.0.1:{port}/health/liveliness")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def await_answer(url: str) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def main() -> None:
    activate(sys.argv[1:])
    import openai

    with gateway() as url:
        client = openai.OpenAI(base_url=f"{url}/v1", max_retries=0)
        create = client.chat.completions.create
        create(**CHAT)
        create(**CHAT)  # the same prompt again, on purpose
        drain(create(**CHAT, **WITH_USAGE))
        for _ in range(2):
            create(model="gpt-4o-mini", messages=[{"role": "system", "content": MANUAL}, *MESSAGES])
        create(model="gpt-5-mini", messages=MESSAGES)
        client.embeddings.create(model="text-embedding-3-small", input=QUESTION, dimensions=4)
        with request_handled():
            create(**CHAT)
            drain(create(**CHAT, **WITH_USAGE))
        flush()
        time.sleep(8)  # the proxy sends its spans within five seconds


if __name__ == "__main__":
    main()

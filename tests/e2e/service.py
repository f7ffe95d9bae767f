"""The sample service of the end-to-end test: it makes as many calls as each line on its standard input says.

It knows neither Spanledger nor OpenTelemetry. Of each call it prints one line of JSON: `{"ok": true}`, or the kind and
the text of the SDK's error.
"""

import json
import sys

import openai


def main() -> None:
    client = openai.OpenAI()
    for line in sys.stdin:
        for number in range(int(line)):
            sys.stdout.write(json.dumps(call(client, number)) + "\n")
            sys.stdout.flush()


def call(client: openai.OpenAI, number: int) -> dict[str, object]:
    try:
        client.chat.completions.create(
            model="gpt-4o-mini", max_tokens=16, messages=[{"role": "user", "content": f"What is {number} squared?"}]
        )
    except openai.APIStatusError as exc:
        return {"ok": False, "kind": type(exc).__name__, "status": exc.status_code, "text": str(exc)}
    return {"ok": True}


if __name__ == "__main__":
    main()

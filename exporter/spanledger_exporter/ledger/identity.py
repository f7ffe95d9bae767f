"""Which ids tell one call from every other."""

import re

# Counters and constants of local servers are short; what providers make is random and at least this long
# ("msg_01" + 22, "chatcmpl-" + 29, "resp_" + 48, a UUID's 36; Bedrock's and Gemini's are of 20 and more).
_ID_CHARS_MIN = 16
_PREFIX = re.compile(r"^(?:[a-z]+[_-])+")
# Random letters and digits seldom repeat: 12 of them, drawn from 16, show nine or more different ones almost always.
_RANDOM_CHARS_MIN = 12
_DIFFERENT_CHARS_MIN = 6


def distinctive(response_id: str | None) -> bool:
    """Tell whether no other call has this id, so that two reports that carry it are of one call.

    Constant, short and empty ids ("chatcmpl-1", "id", "chatcmpl-" and zeros) are not; ids of a random part are.

    Source: what local servers send (a constant such as "chatcmpl-1" or a counter) and what providers send, 2026-11.
    """
    if response_id is None or len(response_id) < _ID_CHARS_MIN:
        return False
    random = _PREFIX.sub("", response_id).replace("-", "").replace("_", "")
    if len(random) < _RANDOM_CHARS_MIN or len(set(random)) < _DIFFERENT_CHARS_MIN:
        return False
    return any(character.isdigit() or character.isupper() for character in random)

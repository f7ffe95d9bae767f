"""The bytes of one attribute (`KeyValue`) -> its key and value.

Source: opentelemetry-proto `common/v1/common.proto` v1 (field numbers); decoded with protobuf's own parser, but for the
shapes that every encoder writes, which are read by hand because making protobuf's objects takes ten times as long.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

AttributeValue = str | int | float | bool | list["AttributeValue"]
Attributes = dict[str, AttributeValue]

ARRAY_ITEMS_MAX: Final = 128
# Of a longer text only this much is decoded. Nothing of it is kept but figures and ids.
TEXT_BYTES_MAX: Final = 16_384
KEY_BYTES_MAX: Final = 127  # whose length is one byte: no attribute that is wanted has a longer key

_KEY, _VALUE, _STRING, _INT = 0x0A, 0x12, 0x0A, 0x18
_FIELD = descriptor_pb2.FieldDescriptorProto


def _lenient_classes() -> tuple[Any, Any]:  # protobuf makes these classes at run time: no static type exists
    """Make the messages with texts as bytes, of which a head can be cut off before it is decoded."""
    file = descriptor_pb2.FileDescriptorProto(name="spanledger/keyvalue.proto", package="spanledger", syntax="proto3")
    for message_name, fields in {"Pair": (("key", 1), ("value", 2)), "Text": (("string_value", 1),)}.items():
        message = file.message_type.add(name=message_name)
        for name, number in fields:
            message.field.add(name=name, number=number, type=_FIELD.TYPE_BYTES, label=_FIELD.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    pair, text = (pool.FindMessageTypeByName(f"spanledger.{name}") for name in ("Pair", "Text"))
    return message_factory.GetMessageClass(pair), message_factory.GetMessageClass(text)


_Pair, _Text = _lenient_classes()


def head(key: str) -> bytes:
    """Return how the bytes of an attribute begin as every encoder writes them: the key, and the tag of the value."""
    raw = key.encode()
    assert len(raw) <= KEY_BYTES_MAX, key
    return bytes((_KEY, len(raw))) + raw + bytes((_VALUE,))


def begins_with_key(raw: bytes) -> bool:
    """Tell whether the bytes begin with a key, whose length is one byte, so that it can be compared as it stands."""
    return len(raw) > 2 and raw[0] == _KEY and raw[1] <= KEY_BYTES_MAX


def key_first(raw: bytes) -> bytes:
    """Return an attribute with its key before its value; one that is not just the two, value first, as it is.

    The OpenTelemetry Collector writes the value first, for it writes messages from their end.
    """
    if len(raw) < 4 or raw[0] != _VALUE:
        return raw
    size, at = raw[1], 2
    if size > 127:
        if raw[2] > 127:  # a text of more than 16 KiB
            return raw
        size, at = size & 127 | raw[2] << 7, 3
    at += size
    if at + 2 > len(raw) or raw[at] != _KEY or raw[at + 1] > KEY_BYTES_MAX or at + 2 + raw[at + 1] != len(raw):
        return raw
    return raw[at:] + raw[:at]


def read(raw: bytes) -> tuple[str, AttributeValue | None]:
    """Return the key and the value of an attribute, `None` for a value that no dialect writes so (bytes, maps, none).

    Raises:
        DecodeError: they are no such message, or a text in it is no UTF-8.
        ValueError: the key is no UTF-8, in a longer one.
    """
    if len(raw) > TEXT_BYTES_MAX:
        pair = _Pair.FromString(raw)
        text = _Text.FromString(pair.value).string_value[:TEXT_BYTES_MAX]
        if text:
            return pair.key.decode(), text.decode(errors="ignore")
    # Also of a long one whose last value is no text: protobuf joins the values that a message has several of.
    pair = KeyValue.FromString(raw)
    value = _value(pair.value, depth=0)
    return pair.key, value[:TEXT_BYTES_MAX] if isinstance(value, str) else value


def write(key: str, value: AttributeValue) -> bytes:
    """Return the bytes of an attribute."""
    return KeyValue(key=key, value=_any(value)).SerializeToString()


def _any(value: AttributeValue) -> AnyValue:
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_any(item) for item in value]))
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)


def _value(value: AnyValue, depth: int) -> AttributeValue | None:
    kind = value.WhichOneof("value")
    if kind == "array_value" and depth == 0:
        items = (_value(item, depth=1) for item in value.array_value.values[:ARRAY_ITEMS_MAX])
        return [item for item in items if item is not None]
    if kind in {"string_value", "int_value", "double_value", "bool_value"}:
        return getattr(value, kind)
    return None


# The value's bytes, with their length before them, of the integers that take two bytes at most: 16,384 of them, each
# made when it is first seen.
_small: dict[bytes, int] = {}
small = _small.get


def figure(tail: bytes) -> int:
    """Return the integer in the bytes of a value behind its tag.

    Raises:
        ValueError: another thing is there, or one that is negative or above 2^35; protobuf's parser knows.
    """
    size = len(tail)
    if not 3 <= size <= 7 or tail[0] != size - 1 or tail[1] != _INT or tail[-1] > 0x7F or tail[-1] == 0 < size - 3:
        raise ValueError
    found = tail[-1]
    for byte in tail[-2:1:-1]:
        if byte < 0x80:
            raise ValueError
        found = found << 7 | byte & 0x7F
    if size <= 4:
        _small[tail] = found
    return found


_TEXT_BYTES_BY_HAND_MAX = 125  # all lengths take one byte
# How the bytes of a value begin that is a text of so many bytes; an empty one is not read by hand.
_TEXT_HEADS = (b"", *(bytes((size + 2, _STRING, size)) for size in range(1, _TEXT_BYTES_BY_HAND_MAX + 1)))


def text(raw: bytes, start: int) -> str:
    """Return the text whose value's bytes start there, behind its tag.

    Raises:
        ValueError: another thing is there, no UTF-8, or a text that is empty or has a NUL in it.
        IndexError: the text is long.
    """
    value = raw[start + 3 :]
    if raw[start : start + 3] != _TEXT_HEADS[len(value)] or 0 in value:
        raise ValueError
    return value.decode()

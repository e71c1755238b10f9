"""Adds key-value metadata to a written Parquet file: what its rows were made from.

Neither DuckDB nor Polars can give each file of one COPY or sink metadata of its own, and pyarrow only writes metadata
together with rows. A footer is one Thrift struct at the end of the file, so it can be replaced alone.

https://parquet.apache.org/docs/file-format/metadata/
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

_TAIL = struct.Struct("<I4s")  # the footer's length, and the magic bytes
_MAGIC = b"PAR1"
_KEY_VALUES = 5  # FileMetaData's field for them
# Thrift's types in the compact protocol.
_BOOLEANS, _BYTE, _VARINTS, _DOUBLE, _BINARY, _LISTS, _MAP, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12


def add_key_values(file: Path, facts: Mapping[str, str]) -> None:
    """Add entries to a file's footer, in place: only for a file that nobody reads yet.

    Raises:
        ValueError: It is no whole Parquet file.
    """
    with file.open("r+b") as opened:
        end = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, end - _TAIL.size))
        tail = opened.read()
        length, magic = _TAIL.unpack(tail) if len(tail) == _TAIL.size else (0, b"")
        start = end - _TAIL.size - length
        if magic != _MAGIC or start < len(_MAGIC):
            raise ValueError(f"{file} is no whole Parquet file")
        opened.seek(start)
        footer = _with_key_values(opened.read(length), facts)
        opened.seek(start)
        opened.write(footer + _TAIL.pack(len(footer), _MAGIC))


def _with_key_values(footer: bytes, facts: Mapping[str, str]) -> bytes:
    """The struct with these entries added to its list, which it may not have yet."""
    added = b"".join(b"\x18" + _binary(key) + b"\x18" + _binary(value) + b"\x00" for key, value in facts.items())
    position, field = 0, 0
    while header := footer[position]:
        position += 1
        if header >> 4:
            field += header >> 4
        else:
            number, position = _varint(footer, position)
            field = number >> 1  # zigzag, never negative
        if field == _KEY_VALUES:
            count, items = _list_size(footer, position)
            end = _skip(footer, position, _LISTS[0])
            return footer[:position] + _list(count + len(facts)) + footer[items:end] + added + footer[end:]
        position = _skip(footer, position, header & 15)
    # Fields may come in any order; one that does not follow the last one has its number written out.
    return footer[:position] + bytes([_LISTS[0], _KEY_VALUES << 1]) + _list(len(facts)) + added + footer[position:]


def _list(count: int) -> bytes:
    """The header of a list of structs."""
    return bytes([count << 4 | _STRUCT]) if count < 15 else bytes([15 << 4 | _STRUCT]) + _to_varint(count)


def _list_size(data: bytes, position: int) -> tuple[int, int]:
    """How many elements a list has, and where they begin."""
    count = data[position] >> 4
    return (count, position + 1) if count < 15 else _varint(data, position + 1)


def _binary(text: str) -> bytes:
    encoded = text.encode()
    return _to_varint(len(encoded)) + encoded


def _to_varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number, and where the next value begins."""
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7


def _skip(data: bytes, position: int, kind: int) -> int:
    """Where the value after this one begins."""
    if kind in _VARINTS:
        while data[position] > 127:
            position += 1
        return position + 1
    if kind == _BINARY:
        length, position = _varint(data, position)
        return position + length
    if kind == _STRUCT:
        while header := data[position]:
            position += 1
            if not header >> 4:
                _, position = _varint(data, position)
            position = _skip(data, position, header & 15)
        return position + 1
    if kind in _LISTS:
        of_kind = data[position] & 15
        count, position = _list_size(data, position)
        for _ in range(count):
            position = position + 1 if of_kind in _BOOLEANS else _skip(data, position, of_kind)
        return position
    if kind in _BOOLEANS:  # a field's type is its value
        return position
    sizes = {_BYTE: 1, _DOUBLE: 8}
    if kind not in sizes:  # Parquet's footer has no map
        raise ValueError(f"a Parquet footer has no Thrift type {kind}")
    return position + sizes[kind]

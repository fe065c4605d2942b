"""Broken copies of a file: cut, flipped, overwritten, repeated, shortened, or with other words."""

from __future__ import annotations

import io
import random
import zipfile
import zlib

_WORDS = (
    b"null", b"[]", b"{}", b"-1", b"1e400", b"NaN", b'"x"', b"true", b"9" * 20, b"[" * 40,
    b"[" * 100_000, b'{"a":' * 100_000,
    b"!!python/object/apply:os.system ['touch was-here']", b"&a [*a]",
)  # fmt: skip


def mutate(sound: bytes, draw: random.Random) -> bytes:
    """Return one broken copy, which is the sound one in rare cases."""
    data, place = bytearray(sound), draw.randrange(len(sound))
    end = min(len(data), place + draw.randrange(1, 64))
    match draw.randrange(6):
        case 0:
            return sound[:place]
        case 1:
            for _ in range(draw.randrange(1, 6)):
                data[draw.randrange(len(data))] = draw.randrange(256)
        case 2:
            fill = draw.choice((0x00, 0x7F, 0x80, 0xFF))
            data[place:end] = bytes([fill]) * (end - place)
        case 3:
            data[place:place] = data[place:end]
        case 4:
            del data[place:end]
        case _:
            word = draw.choice(_WORDS)
            data[place : place + len(word)] = word
    return bytes(data)


def signed(sound: bytes, draw: random.Random) -> bytes:
    """Return a broken policy, mostly with the checksum of its content, so that the rest is read."""
    broken = mutate(sound, draw)
    if draw.random() < 0.2:
        return broken
    return broken[:-4] + zlib.crc32(broken[:-4]).to_bytes(4, "little")


def archived(sound: bytes, draw: random.Random) -> bytes:
    """Return a broken archive: its bytes, or those of one member with its right checksum."""
    if draw.random() < 0.5:
        return mutate(sound, draw)
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound)) as whole, zipfile.ZipFile(made, "w") as broken:
        members = whole.infolist()
        victim = draw.choice(members)
        for member in members:
            content = whole.read(member)
            broken.writestr(member, mutate(content, draw) if member is victim else content)
    return made.getvalue()

"""Broken files: each is read as it is, or refused in one sentence.

`python tests/faults/fuzz.py COUNT SEED` tries that many broken copies of every kind of file and
prints a table.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("support", "faults")]

import pytest
from readers import Reader, all_readers
from totals import Total, listed, show

from gtp_fast.errors import UserError

_SECONDS = 20


class Hang(Exception):
    """A file took too long to read."""


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def outcome(reader: Reader, content: bytes) -> str:
    """Return read, refused, or what went wrong with a broken copy of a file."""
    reader.path.write_bytes(content)
    kept = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(_SECONDS)
    try:
        reader.read()
    except UserError as error:
        return "a sentence of several lines" if "\n" in str(error) else "refused"
    except Hang:
        return "hang"
    except Exception as error:
        places = [f for f in traceback.extract_tb(error.__traceback__) if "gtp_fast" in f.filename]
        at = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
        return f"{type(error).__name__} at {at}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, kept)
    return "read"


def campaign(reader: Reader, count: int, seed: int) -> Counter[str]:
    """Try `count` broken copies of one kind of file; count the outcomes."""
    sound = reader.path.read_bytes()
    assert outcome(reader, sound) == "read", f"the sound {reader.name} is not read"
    draw = random.Random(f"{seed} {reader.name}")
    found = Counter(outcome(reader, reader.broken(sound, draw)) for _ in range(count))
    reader.path.write_bytes(sound)
    return found


def main(count: int, seed: int) -> list[Total]:
    """Print one row a kind of file; return what was found."""
    failures, total = 0, 0
    print("| file | tried | refused in one sentence | read | failed |\n|---|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        for reader in all_readers(Path(folder), monkeypatch):
            found: Any = campaign(reader, count, seed)
            refused, read = found.pop("refused", 0), found.pop("read", 0)
            failures, total = failures + sum(found.values()), total + count
            print(
                f"| {reader.name} | {count:,} | {refused:,} | {read:,} | {listed(found) or '0'} |",
                flush=True,
            )
        left = len([*Path(folder).rglob("was-here")])
    print(f"\n{left} files had code in them run", flush=True)
    return [Total("broken files", total, failures + left, seed)]


if __name__ == "__main__":
    sys.exit(show(main(int(sys.argv[1]), int(sys.argv[2]))))

"""Progress: a bar on a terminal, few lines in a log."""

from __future__ import annotations

import io
import sys

import pytest
from tqdm import tqdm

from gtp_fast.system import progress


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_a_log_gets_a_line_every_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.bar(1000, "update", initial=100, keep=True) as bar:
        for done in range(101, 501):
            clock.now += 0.125
            bar.set_postfix({"flow_loss": "0.5"})
            bar.update(done - bar.n)
            bar.set_description_str(f"evaluating, episode {done}")
        bar.write("a warning", file=sys.stderr)
        bar.update()
    lines = capsys.readouterr().err.splitlines()
    # 50 seconds are five lines, then the warning and the last state.
    assert len(lines) == 7 and lines[5] == "a warning"
    assert "\r" not in "".join(lines)
    assert "18% 180/1000 [00:10<01:42" in lines[0] and "flow_loss=0.5" in lines[0]
    assert lines[0].startswith("evaluating, episode 179: ")
    assert "50% 501/1000" in lines[-1]


def test_what_is_over_at_once_says_no_more_than_its_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.bar(10, "episode") as bar:
        clock.now += 9
        bar.update(10)
    assert capsys.readouterr().err == ""
    with progress.bar(10, "update", keep=True) as bar:
        bar.update(10)
    assert capsys.readouterr().err.startswith("100% 10/10")
    with progress.bar(10, "update", keep=True) as bar:
        clock.now += 11
        bar.update(10)
    assert capsys.readouterr().err.count("100% 10/10") == 1, "the end is said once"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_a_silent_caller_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with progress.bar(10, "episode") as bar:
        assert isinstance(bar, tqdm)
        bar.update(10)
    assert "\r" in shown.getvalue()
    shown.truncate(0)
    with progress.bar(10, "episode", shown=False) as bar:
        bar.update(10)
    assert shown.getvalue().strip("\0") == ""

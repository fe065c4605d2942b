"""The short form of the campaign that kills commands, and what they say when they are stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pty
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import commands
import pytest
import torch

from gtp_fast import cli
from gtp_fast.system import signals
from gtp_fast.system.signals import stop_signals

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
Made = tuple[Path, dict[str, commands.Command]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    pytest.importorskip("gymnasium_robotics")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("commands")
    yield folder, {one.name: one for one in commands.all_commands(folder)}
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["train", "evaluate", "export", "collect"])
def test_a_command_that_is_ended_leaves_nothing_half_made(
    made: Made, tmp_path: Path, name: str
) -> None:
    command = made[1][name]
    sound = commands.whole(command, tmp_path / "whole")
    assert sound.left is not None
    signals = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
    for i, by in enumerate(signals if name == "export" else signals[:2], start=1):
        at = sound.operations * i // 5
        found = commands.trial(command, tmp_path / str(i), sound, by, at)
        # A signal may be late on a busy machine.
        assert found in ("ended as ever", "over before the signal"), (by.name, at)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_an_evaluation_that_loses_a_worker_says_so(made: Made, tmp_path: Path) -> None:
    command = made[1]["evaluate in 2 processes"]
    sound = commands.whole(command, tmp_path / "whole")
    half = sound.seconds / 2
    found = commands.trial(command, tmp_path / "out", sound, signal.SIGKILL, None, half, True)
    assert found in ("ended as ever", "no worker yet", "over before the signal")


def test_the_campaign_sees_a_result_that_differs(made: Made, tmp_path: Path) -> None:
    sound = commands.Started("something else", 10, 1.0)
    found = commands.trial(made[1]["export"], tmp_path / "out", sound, signal.SIGKILL, 3)
    assert found == "OTHER RESULT"


def test_a_signal_is_given_back_to_who_handled_it(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(words: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not reached")

    before = signal.getsignal(signal.SIGTERM)
    assert cli.run(stopped, []) == 143
    assert capsys.readouterr().err == "gtp_fast: stopped by SIGTERM.\n"
    assert signal.getsignal(signal.SIGTERM) == before
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        assert cli.run(lambda words: os.kill(os.getpid(), signal.SIGTERM), []) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


@pytest.mark.parametrize("within", [contextlib.nullcontext, stop_signals])
def test_a_closed_terminal_ends_a_command_unless_nohup_started_it(
    within: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def hung_up(words: object) -> int:
        with within() as received:
            os.kill(os.getpid(), signal.SIGHUP)
        return 128 + received() if received else 0

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert cli.run(hung_up, []) == 129
        assert capsys.readouterr().err in ("gtp_fast: stopped by SIGHUP.\n", "")
        assert signal.signal(signal.SIGHUP, signal.SIG_IGN) is signal.SIG_DFL
        assert cli.run(hung_up, []) == (128 if within is stop_signals else 0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


IN_A_TERMINAL = """
import sys, time
from gtp_fast import cli
from gtp_fast.system.signals import stop_signals

def main(words):
    print("ready", flush=True)
    if "loop" not in words:
        time.sleep(60)
    with stop_signals() as received:
        while not received():
            time.sleep(0.01)
    print("what is left to say")
    print("stopped", file=sys.stderr)
    return 128 + received()

sys.exit(cli.run(main, sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [[], ["loop"]])
def test_what_is_said_to_a_closed_terminal_changes_no_exit_code(words: list[str]) -> None:
    child, terminal = pty.fork()
    if not child:
        # Under nohup the tests ignore it.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, "-c", IN_A_TERMINAL, *words])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 1024)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129


def test_a_system_without_sighup_has_the_other_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    spec = importlib.util.spec_from_file_location("signals_elsewhere", str(signals.__file__))
    assert spec is not None and spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    with elsewhere.terminable(), elsewhere.stop_signals() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert received() == signal.SIGTERM

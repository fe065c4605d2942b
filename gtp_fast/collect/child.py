"""A process of `episodes`: it plays those that it is asked for."""

from __future__ import annotations

from multiprocessing.connection import Connection

from gtp_fast.collect.workers import Collector
from gtp_fast.system import children


def serve(pipe: Connection) -> None:
    """Answer each number with its episode, once the environment is built."""
    collector = Collector(*pipe.recv())
    pipe.send(None)
    while True:
        pipe.send(collector.episode(pipe.recv()))


if __name__ == "__main__":
    children.run(serve)

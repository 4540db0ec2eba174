"""Kills that depend on what a process does, never on how fast it does it."""

import itertools
import os
import random
import signal
import sqlite3
from collections.abc import Callable

KILLS = 20


class Statements:
    """Counts the SQL statements of this process; SIGKILLs it as the chosen one begins."""

    def __init__(self, last: int | None = None) -> None:
        """Watch every connection opened from now on."""
        self.begun, self.last = 0, last
        connect = sqlite3.connect

        def watched(*arguments, **choices):
            connection = connect(*arguments, **choices)
            connection.set_trace_callback(self.begin)
            return connection

        sqlite3.connect = watched

    def begin(self, statement: str) -> None:
        """Count one statement; each row of an `executemany` is one."""
        self.begun += 1
        if self.begun == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def statements_of(work: Callable[[], None]) -> int:
    """Return the number of SQL statements of work done in a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        statements = Statements()
        work()
        os.write(writing, str(statements.begun).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        begun = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return int(begun)


def kill_again_and_again(work: Callable[[], None], statements: int, seed: int) -> int:
    """Start work in children until one survives; return how many were killed before.

    Twenty random instants of the `statements` that the work takes without a kill cut it into
    pieces, and each child dies at the end of the next one. What a kill undoes is done again, so
    all twenty die before the end; later ones die anywhere, the end included.
    """
    draw = random.Random(seed)
    instants = [0, *sorted(draw.sample(range(1, statements), KILLS))]
    for killed in itertools.count():
        if killed < KILLS:
            last = instants[killed + 1] - instants[killed]
        else:
            last = draw.randint(1, statements)
        child = os.fork()
        if not child:
            Statements(last)
            work()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            assert status == 0, f"a child ended with status {status} after {killed} kills"
            return killed

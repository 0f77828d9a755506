"""Processes that watch each other: one that dies or stands still ends the job, and is named.

Each has a connection to process 0, on which both say every few seconds that they live. A closed connection is
a dead process, a silent one a process that stands still. JAX's own watch would end the job too, but with a
stack trace, and without the name of a coordinator that died.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn, TextIO

BEATS = 8  # signs of life while one may be silent
TOLD = 2.0  # seconds that the others have to read why the job ends, before this process goes
FIX = "Fix: look at what it said last; the same command goes on from the newest checkpoint"


@dataclass
class Line:
    """The connection to another process.

    Attributes:
      process: its number.
      name: what people find it by: its machine and process id.
      connection: both ways.
      reader: lines of it.
    """

    process: int
    name: str
    connection: socket.socket
    reader: TextIO
    sending: threading.Lock = field(default_factory=threading.Lock)

    def say(self, word: str, rest: object = "") -> None:
        """Sends a line; one that nobody reads any more is found by whoever reads this one."""
        with contextlib.suppress(OSError), self.sending:
            self.connection.sendall(f"{word} {json.dumps(rest)}\n".encode())

    def hear(self) -> tuple[str, Any]:
        """The next line; empty where the other end is closed."""
        word, _, rest = self.reader.readline().partition(" ")
        return word, json.loads(rest) if rest else ""

    def close(self) -> None:
        """Closes it; the other end reads that as the end of this process."""
        self.reader.close()
        self.connection.close()


def own_name() -> str:
    """The machine and the process id of this process."""
    return f"{socket.gethostname()}, pid {os.getpid()}"


class Watch:
    """What watches the other processes, in threads of its own, from `start` to `stop`.

    Args:
      processes: in the job.
      lines: to all others in process 0, to process 0 in the others.
      patience: seconds that one may be silent.
    """

    def __init__(self, processes: int, lines: list[Line], patience: float):
        self._processes, self._lines, self._patience = processes, lines, patience
        self._over, self._ending = threading.Event(), threading.Lock()
        self._readers = [threading.Thread(target=self._listen, args=(line,), daemon=True) for line in lines]

    def start(self) -> None:
        """Begins to watch."""
        for line in self._lines:
            line.connection.settimeout(self._patience)
        for thread in (*self._readers, threading.Thread(target=self._beat, daemon=True)):
            thread.start()

    def stop(self) -> None:
        """Ends in peace; called where all others do so too."""
        self._over.set()
        for line in self._lines:
            line.say("bye")
        for thread in self._readers:
            thread.join(self._patience)
        for line in self._lines:
            line.close()

    def tell(self, message: str, code: int) -> None:
        """Tells the others that the job ends, why, and with which exit code, and waits until they went."""
        self._over.set()
        for line in self._lines:
            line.say("end", [message, code])
        end = time.monotonic() + TOLD
        for thread in self._readers:
            thread.join(max(end - time.monotonic(), 0.0))

    def wait(self) -> None:
        """Time to find that a failure here came of another process that is missing: then this process ends
        inside.
        """
        time.sleep(self._patience + TOLD)

    def _beat(self) -> None:
        while not self._over.wait(self._patience / BEATS):
            for line in self._lines:
                line.say("beat")

    def _listen(self, line: Line) -> None:
        try:
            while True:
                word, rest = line.hear()
                if word == "bye":
                    return
                if word == "end":
                    message, code = rest
                    self._end(str(message), int(code), line)
                if not word:
                    why = "is gone"
                    break
        except TimeoutError:
            why = f"has given no sign of life for {self._patience:g} s"
        except (OSError, ValueError):
            why = "is gone"
        if self._over.is_set():
            return
        self._end(
            f"process {line.process} of {self._processes} ({line.name}) {why}; the job ends. {FIX}", 1, line
        )

    def _end(self, message: str, code: int, source: Line) -> NoReturn:
        """Ends this process, and with it the job: whatever its main thread waits for will not come."""
        with self._ending:  # of several threads the first
            self._over.set()
            for line in self._lines:
                if line is not source:
                    line.say("end", [message, code])
            with contextlib.suppress(OSError, AttributeError, ValueError):
                os.write(sys.stderr.fileno(), f"aila: {message}\n".encode())
            if len(self._lines) > 1:
                time.sleep(TOLD)
            os._exit(code)

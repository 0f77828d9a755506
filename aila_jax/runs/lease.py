"""A lease on a run directory that other machines see, where a lock is not shared between them.

The holder writes a file with its name and a number that it raises every few seconds. Who wants the directory
watches the number: while it grows, the holder lives; where it stands still for the time of the lease, the
holder is gone. No clock is compared with another's, so it does not matter how wrong they are.
"""

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from aila_jax.files import names_the_file, new_file, refuse_link, write_whole
from aila_jax.json_files import json_object, read_json

NAME = ".lease"
BEAT = 5.0  # seconds between two signs of life
STILL = 30.0  # seconds without one after which the holder is gone
AGAIN = (
    0.5  # seconds after which a lease that was taken over is looked at again: another may have taken it too
)


class RunTaken(OSError):
    """Training ended at once because another process holds the run directory now."""


@dataclass(frozen=True)
class Held:
    """What the file says.

    Attributes:
      owner: the process: its machine since it was started, and its number there.
      host: the machine's name, for people.
      token: of this lease; no other has it.
      beat: grows while the holder lives.
    """

    owner: str
    host: str
    token: str
    beat: int


def machine() -> str:
    """This machine since it was started; other machines may have its name."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {uuid.getnode()}"


_GONE: set[str] = set()  # owners that stood still; each is waited for once


class Lease:
    """Holds a directory for this process; a context manager.

    Args:
      directory: which.
      locked: a lock tells that no other process of this machine holds it.
      beat: seconds between two signs of life.
      still: seconds without one after which another holder is gone.
      host: this machine's name.
      own: this machine's identity.

    Raises:
      ValueError: on entering, a process on another machine holds it.
    """

    def __init__(
        self,
        directory: Path,
        locked: bool = True,
        *,
        beat: float = BEAT,
        still: float = STILL,
        host: str = "",
        own: str = "",
    ):
        self._path = directory.resolve() / NAME
        self._beat, self._still, self._locked = beat, still, locked
        self._own = own or machine()
        owner = f"{self._own}/{os.getpid()}"
        self._mine = Held(owner, host or socket.gethostname(), secrets.token_hex(8), 0)
        self._ended = threading.Event()
        self._taker: Held | None = None
        self._thread = threading.Thread(target=self._live, name="aila lease", daemon=True)

    def __enter__(self) -> "Lease":
        refuse_link(self._path)
        for left in self._path.parent.glob(f"{NAME}.*.tmp"):  # of a holder that was killed
            left.unlink(missing_ok=True)
        there = self._read()
        if there is not None:
            self._wait_for(there)
        self._write()
        if there is not None:
            time.sleep(min(AGAIN, self._beat))
            self._look()
            if self._taker is not None:
                raise ValueError(self._refusal(self._taker))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._look()
        if self._taker is None:
            self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises RunTaken where another process has taken the directory: this one stood still, say."""
        self._look()
        if self._taker is not None:
            raise RunTaken(
                f"the run directory {self._path.parent} was taken over by {self._taker.host} while this process"
                f" gave no sign of life for {self._still:g} s. Training ended at once, without saving. Fix: let"
                " that process go on, or stop it and give the same command again"
            )

    def _wait_for(self, there: Held) -> None:
        """Returns when the holder is gone; ValueError where it lives."""
        here = self._locked and there.owner.partition("/")[0] == self._own  # the lock has told already
        if here or there.owner in _GONE:
            return
        print(
            f"lease    {self._path.parent} was held by {there.host}; looking for {self._still:g} s whether it still is",
            file=sys.stderr,
            flush=True,
        )
        end = time.monotonic() + self._still
        while time.monotonic() < end:
            time.sleep(min(self._beat, max(end - time.monotonic(), 0.0)))
            now = self._read()
            if now is None:
                return
            if now != there:
                raise ValueError(self._refusal(now))
        _GONE.add(there.owner)
        print(
            f"lease    {there.host} gave no sign of life; its run goes on here", file=sys.stderr, flush=True
        )

    def _refusal(self, holder: Held) -> str:
        return (
            f"workdir is {str(self._path.parent)!r}; it must be a folder that no other process trains into:"
            f" {holder.host} does. Fix: wait until that run ends, or choose another --workdir"
        )

    def _live(self) -> None:
        while not self._ended.wait(self._beat):
            self._look()
            if self._taker is not None:
                return
            self._mine = Held(self._mine.owner, self._mine.host, self._mine.token, self._mine.beat + 1)
            with contextlib.suppress(OSError):  # a full disk; training says so itself
                self._write()

    def _look(self) -> None:
        there = self._read()
        if there is not None and there.token != self._mine.token:
            self._taker = there

    def _read(self) -> Held | None:
        """What the file says; None where there is none, or none that this version wrote."""
        with contextlib.suppress(OSError, ValueError):
            values = json_object(read_json(self._path), "lease")
            if all(isinstance(values.get(name), str) for name in ("owner", "host", "token")):
                host = "".join(one for one in values["host"][:100] if one.isprintable())
                return Held(values["owner"], host, values["token"], int(values.get("beat", 0)))
        return None

    def _write(self) -> None:
        """A new file in its place, so that a reader sees a whole one."""
        partial = self._path.with_name(f"{NAME}.{secrets.token_hex(8)}.tmp")
        try:
            with names_the_file(self._path):
                with new_file(partial) as file:
                    write_whole(file, json.dumps(asdict(self._mine)).encode())
                os.replace(partial, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

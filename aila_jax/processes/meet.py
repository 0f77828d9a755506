"""How the processes of a job find each other: all come to process 0, before JAX is told of them.

JAX's own coordinator ends a process in C++ where another does not come, or comes twice: without a word on
who. So they meet here first, at the coordinator's address, and JAX's coordinator gets a free port of its own.
"""

import contextlib
import json
import socket
import time
from dataclasses import asdict, dataclass

from aila_jax.config import require
from aila_jax.processes.watch import Line, own_name

AGAIN = 0.2  # seconds between two tries to reach process 0


@dataclass(frozen=True)
class Place:
    """One process's place in a job.

    Attributes:
      coordinator: HOST:PORT of process 0, as every process reaches it.
      processes: in all, at least 2.
      process: the number of this one, from 0.
      devices: of this machine, those that it takes; None: all.
    """

    coordinator: str
    processes: int
    process: int
    devices: tuple[int, ...] | None = None

    @property
    def host(self) -> str:
        return self.coordinator.rpartition(":")[0]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Hello:
    """What a process says of itself when it comes.

    Attributes:
      process: its number.
      processes: how many it was told that there are.
      command: what it is to do.
      name: what people find it by.
    """

    process: int
    processes: int
    command: str
    name: str


def meet(place: Place, command: str, wait: float) -> tuple[list[Line], str]:
    """The connections to the others, and the address of JAX's own coordinator.

    Args:
      command: what this process is to do; it must be the same in all.
      wait: seconds until all must be here.

    Raises:
      ValueError: they were told of different jobs, in process 0 and in those that are wrong.
      TimeoutError: not all came; the message names who is missing.
      OSError: the address cannot be listened to.
    """
    hello = Hello(place.process, place.processes, command, own_name())
    end = time.monotonic() + wait
    return _receive(place, hello, end, wait) if place.process == 0 else _come(place, hello, end, wait)


def _receive(place: Place, hello: Hello, end: float, wait: float) -> tuple[list[Line], str]:
    lines: dict[int, Line] = {}
    try:
        server = _server(place.address[1])
    except OSError as error:
        raise ValueError(
            f"coordinator is {place.coordinator!r}; process 0 must be able to listen there ({error.strerror})."
            " Fix: choose a free port, in every process"
        ) from None
    with server:
        while len(lines) < place.processes - 1:
            server.settimeout(max(end - time.monotonic(), 0.001))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                message = _missing(place, [0, *lines], wait)
                _refuse(lines, message)
                raise TimeoutError(message) from None
            line = Line(-1, "", connection, connection.makefile("r", encoding="utf-8"))
            connection.settimeout(10.0)
            try:
                other = _hello(line)
            except (OSError, ValueError, TypeError):  # nobody of ours: something that looks for open ports
                line.close()
                continue
            try:
                _check(other, hello, lines)
            except ValueError as error:
                _refuse({**lines, -1: line}, str(error))
                raise
            line.process, line.name = other.process, other.name
            lines[other.process] = line
    engine = f"{place.host}:{_free_port()}"
    for line in lines.values():
        line.say("welcome", [engine, hello.name])
    return [lines[process] for process in sorted(lines)], engine


def _server(port: int) -> socket.socket:
    """Listens on all addresses of this machine, of both kinds where it has both."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    return socket.create_server(("", port), backlog=1024)


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def _hello(line: Line) -> Hello:
    word, rest = line.hear()
    if word != "hello" or not isinstance(rest, dict):
        raise ValueError(f"{word!r} is no greeting")
    return Hello(int(rest["process"]), int(rest["processes"]), str(rest["command"]), str(rest["name"]))


def _check(other: Hello, own: Hello, lines: dict[int, Line]) -> None:
    """ValueError where a process that came is of another job, or has no place in this one."""
    who = f"({other.name})"
    limit = f"{own.processes}, as in process 0 ({own.name})"
    fix = "give every process the same --processes, and start as many"
    require(
        other.processes == own.processes,
        f"--processes of process {other.process} {who}",
        other.processes,
        limit,
        fix,
    )
    free = [number for number in range(1, own.processes) if number not in lines]
    limit = f"one that is free: {', '.join(map(str, free))}"
    require(
        other.process in free, f"--process {who}", other.process, limit, "give every process its own number"
    )
    same = other.command == own.command
    limit = f"{own.command!r}, as in process 0"
    require(
        same, f"the command of process {other.process} {who}", other.command, limit, "start the same in all"
    )


def _refuse(lines: dict[int, Line], message: str) -> None:
    for line in lines.values():
        line.say("end", [message, 2])
        line.close()


def _missing(place: Place, came: list[int], wait: float) -> str:
    missing = [number for number in range(place.processes) if number not in came]
    named = f"process {missing[0]}" if len(missing) == 1 else f"processes {', '.join(map(str, missing))}"
    return (
        f"{named} of {place.processes} did not come to {place.coordinator} within {wait:g} s. Fix: look at what"
        " they said last, or start as many as --processes says"
    )


def _come(place: Place, hello: Hello, end: float, wait: float) -> tuple[list[Line], str]:
    while True:
        try:
            connection = socket.create_connection(place.address, timeout=max(end - time.monotonic(), 0.001))
            break
        except OSError:  # process 0 is not there yet, or its name is not known yet
            if time.monotonic() + AGAIN > end:
                raise TimeoutError(_missing(place, list(range(1, place.processes)), wait)) from None
            time.sleep(AGAIN)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = Line(0, "", connection, connection.makefile("r", encoding="utf-8"))
    line.say("hello", asdict(hello))
    # Process 0 says who is missing; where it says nothing, it is missing itself.
    connection.settimeout(max(end - time.monotonic(), 0.0) + 10.0)
    try:
        word, rest = line.hear()
    except (OSError, json.JSONDecodeError):
        word, rest = "", ""
    if word == "welcome":
        engine, line.name = rest
        return [line], str(engine)
    line.close()
    if word == "end":
        raise ValueError(str(rest[0]))
    raise TimeoutError(_missing(place, list(range(1, place.processes)), wait))

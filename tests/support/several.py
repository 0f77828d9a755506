"""Jobs of several processes on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Ended:
    """How a process ended: its exit code and what it wrote."""

    code: int
    out: str
    error: str


@dataclass
class Job:
    """Processes that were started together, and the files that they write to."""

    processes: list[subprocess.Popen[bytes]]
    folder: Path

    def read(self, process: int, name: str = "error") -> str:
        return (self.folder / f"{name}{process}").read_text(encoding="utf-8", errors="replace")

    def when(self, process: int, said: Callable[[str], bool], seconds: float = 240.0) -> None:
        """Waits until a process has said something on standard error."""
        end = time.monotonic() + seconds
        while not said(self.read(process)):
            assert self.processes[process].poll() is None, self.read(process)
            assert time.monotonic() < end, self.read(process)
            time.sleep(0.05)

    def signal(self, process: int, number: signal.Signals) -> None:
        os.kill(self.processes[process].pid, number)

    def ended(self, process: int, seconds: float) -> Ended:
        """How it ended, within so many seconds."""
        code = self.processes[process].wait(seconds)
        return Ended(code, self.read(process, "out"), self.read(process))

    def all_ended(self, seconds: float = 300.0) -> list[Ended]:
        end = time.monotonic() + seconds
        return [
            self.ended(process, max(end - time.monotonic(), 0.1)) for process in range(len(self.processes))
        ]

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def start(folder: Path, commands: Sequence[Sequence[str]]) -> Job:
    """Starts Python with the arguments of each process."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    processes = []
    for number, command in enumerate(commands):
        with open(folder / f"out{number}", "wb") as out, open(folder / f"error{number}", "wb") as error:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *command], env=environment, cwd=ROOT, stdout=out, stderr=error
                )
            )
    return Job(processes, folder)


def place(port: int, processes: int, process: int, patience: float = 30.0) -> list[str]:
    """The flags of one process of a job."""
    return [
        f"--coordinator=127.0.0.1:{port}",
        f"--processes={processes}",
        f"--process={process}",
        f"--patience={patience}",
        "--wait=120",
    ]


def launched(folder: Path, processes: int, *arguments: str, patience: float = 30.0) -> Job:
    """`python -m launch` in several processes, or in one as it always was."""
    port = free_port()
    return start(
        folder,
        [
            ["-m", "launch", *arguments, *(place(port, processes, number, patience) if processes > 1 else [])]
            for number in range(processes)
        ],
    )

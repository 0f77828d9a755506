"""TensorBoard's file of scalars, written at once and in the caller's own thread.

A writer with a thread and a queue, as tensorboardX has, loses its thread on a full disk, and whoever fills
the queue then waits for ever.
"""

import itertools
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from aila_jax.files import Growing, flush, names_the_file, new_file


class EventFile:
    """A new file of events in `directory`; `path` is its own, `file` what it holds.

    Args:
      directory: TensorBoard's folder of the run.
      hide_from: TensorBoard hides the points of earlier files from this step on; None hides nothing.
    """

    def __init__(self, directory: Path, hide_from: int | None = None):
        stem = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        with names_the_file(directory):
            for number in itertools.count():
                try:
                    self.path = directory / (f"{stem}.{number}" if number else stem)
                    self.file = Growing(new_file(self.path))
                    flush(directory)
                    break
                except FileExistsError:  # of a run that began in the same second
                    continue
        try:
            self._write(Event(file_version="brain.Event:2"))
            if hide_from is not None:
                self._write(Event(step=hide_from, session_log=SessionLog(status=SessionLog.START)))
        except BaseException:
            self.file.close()
            raise

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of one step; OSError where that fails, which leaves whole events only."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
        with names_the_file(self.path):
            self.file.add(length + checks[0] + data + checks[1])

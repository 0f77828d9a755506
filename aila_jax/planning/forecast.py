"""What a run will take, in the one line that every estimate of it is printed as."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Forecast:
    """What a step takes.

    Attributes:
      seconds: wall time; None where nothing says how fast the device is.
      tokens: that it reads.
      megabytes: of memory on a device, arguments, results and what is held between; None where the compiler
        does not say.
      how: what it is known by, in words.
    """

    seconds: float | None
    tokens: int
    megabytes: float | None
    how: str

    def line(self, steps: int) -> str:
        """In words, for a run of so many steps."""
        memory = "" if self.megabytes is None else f"{self.megabytes:,.0f} MB a device, "
        work = f"{steps:,} steps of {self.tokens:,} tokens ({self.how})"
        if self.seconds is None:
            return f"{memory}{work}"
        return f"{memory}{self.tokens / self.seconds:,.0f} tokens/s, about {duration(steps * self.seconds)} for {work}"


def duration(seconds: float) -> str:
    """In words, in the unit that suits."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}" if unit == "min" else f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"

"""Which step had the lowest validation loss, and when to stop for want of a lower one."""

from dataclasses import dataclass, replace

from aila_jax.config import TrainConfig


class StoppedEarly(Exception):
    """Training ended between two steps, after saving, because validation loss no longer fell.

    Attributes:
      step: steps done.
    """

    def __init__(self, step: int, why: str):
        self.step = step
        super().__init__(why)


@dataclass(frozen=True)
class Seen:
    """What the evaluations of a run so far have shown. A loss that is not finite improves nothing.

    Attributes:
      step: the step of the lowest validation loss; None before there was one.
      loss: that loss, in nats.
      reference: the loss that `train.patience` counts from: the last one that was lower than the one before
        it by `train.min_delta`.
      waited: evaluations since.
    """

    step: int | None = None
    loss: float | None = None
    reference: float | None = None
    waited: int = 0

    def after(self, step: int, loss: float, min_delta: float) -> "Seen":
        """The same with one more evaluation."""
        finite = abs(loss) < float("inf")
        best = finite and (self.loss is None or loss < self.loss)
        enough = finite and (self.reference is None or loss < self.reference - min_delta)
        lowest = replace(self, step=step, loss=loss) if best else self
        return (
            replace(lowest, reference=loss, waited=0) if enough else replace(lowest, waited=self.waited + 1)
        )


class ValidationWatch:
    """Follows the validation loss of a run: every evaluation is told to it, and its `seen` goes into each
    checkpoint, so that a run that goes on counts on.
    """

    def __init__(self, config: TrainConfig, seen: Seen | None = None):
        """`seen`: that of the checkpoint that training goes on from."""
        self._config, self.seen = config, Seen() if seen is None else seen

    @property
    def on(self) -> bool:
        """Whether anybody asks for the lowest loss."""
        return self._config.keep_best or self._config.patience > 0

    @property
    def kept(self) -> int | None:
        """The step whose checkpoint is kept beside the newest; None where none is."""
        return self.seen.step if self._config.keep_best else None

    @property
    def stops(self) -> bool:
        """Whether patience is at an end."""
        return 0 < self._config.patience <= self.seen.waited

    def see(self, step: int, loss: float) -> None:
        """Takes the loss of one evaluation."""
        self.seen = self.seen.after(step, loss, self._config.min_delta)

    def ended(self, step: int) -> StoppedEarly | None:
        """What ends training after `step`; None to go on, and after the last one, which ends by itself."""
        early = self.stops and step < self._config.steps
        return StoppedEarly(step, self.why) if early else None

    @property
    def why(self) -> str:
        """Why training stopped early."""
        than = f"{self.seen.reference:.4f}" if self.seen.reference is not None else "any number"
        least = f" by {self._config.min_delta:g}" if self._config.min_delta else ""
        return f"no validation loss was lower than {than}{least} in {self.seen.waited} evaluations"

    @property
    def best(self) -> str:
        """The lowest loss in words."""
        if self.seen.step is None or self.seen.loss is None:
            return "none: no validation loss was finite"
        return f"step {self.seen.step}, validation loss {self.seen.loss:.4f}"

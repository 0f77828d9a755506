"""The PyTorch twin against the clock."""

import os
import time
from typing import Any

import numpy as np

# Before PyTorch is imported: compile times are of compiling, not of reading what an earlier run left on the
# disk.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
import torch
from jaxtyping import Int

from benchmarks.forms import SWEEP, TRAIN, TorchForm
from benchmarks.plain_torch import TorchTransformer, build_torch_optimizer, learning_rate_at, load_weights
from benchmarks.shapes import Shape
from benchmarks.workload import draw_weights


class TorchRunner:
    """See `benchmarks.runner.Runner`."""

    def __init__(
        self,
        form: TorchForm,
        shape: Shape,
        tokens: Int[np.ndarray, "batches B L+1"],
        exact: bool,
        tasks: tuple[str, ...],
    ):
        config = shape.config
        self.device = "cpu" if shape.cpu else "cuda"
        # On a GPU JAX's default takes float32 products through the tensor cores; so does this.
        torch.set_float32_matmul_precision("highest" if exact or shape.cpu else "high")
        self.bfloat16 = shape.dtype == "bfloat16" and not exact
        self.train_config = config.train
        self.versions = {"torch": torch.__version__}
        weights = draw_weights(config.model, shape.vocab_size)
        self.model, self.eval_model = (
            TorchTransformer(config.model, shape.vocab_size).to(self.device) for _ in range(2)
        )
        load_weights(self.model, weights)
        load_weights(self.eval_model, weights)
        self.optimizer = build_torch_optimizer(self.model, config.train)
        self.batches = [torch.from_numpy(one.astype(np.int64)).to(self.device) for one in tokens]
        self.steps = 0
        losses, scores = self.model.losses, self.eval_model.scores
        self.losses: Any = torch.compile(losses) if form.compiled else losses
        self.scores: Any = torch.compile(scores) if form.compiled else scores
        self.compile_seconds = {SWEEP: 0.0, TRAIN: 0.0}
        if form.compiled:
            self._compile(tasks)

    def _compile(self, tasks: tuple[str, ...]) -> None:
        """The first call compiles, the second shows what of the first was execution; gradients are dropped,
        weights kept.
        """
        calls = {SWEEP: lambda: self.evaluate(0), TRAIN: lambda: self._gradients(0)}
        for task in tasks:
            call, times = calls[task], []
            for _ in range(2):
                began = time.perf_counter()
                self.wait(call())
                times.append(time.perf_counter() - began)
            self.compile_seconds[task] = times[0] - times[1]
        self.optimizer.zero_grad(set_to_none=True)

    def _gradients(self, index: int) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            loss = self.losses(self.batches[index % len(self.batches)])
        loss.backward()
        return loss.detach()

    def train(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        loss = self._gradients(index)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train_config.clip_norm)
        rate = learning_rate_at(self.train_config, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.steps += 1
        return loss, norm

    def evaluate(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            return self.scores(self.batches[index % len(self.batches)])

    def wait(self, value: Any) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def device_peak_bytes(self) -> int | None:
        return int(torch.cuda.max_memory_allocated()) if self.device == "cuda" else None

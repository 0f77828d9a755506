"""A `config.json` of Hugging Face transformers: what of it is read, what may be left unread, and nothing
else.

A key that nobody here knows may change what the model computes, and the result would be fluent and wrong. So
it is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aila_jax.config import require
from aila_jax.config.choices import RotaryLayout, RotaryScaling
from aila_jax.config.rotary import RotaryConfig

# Keys that change nothing of a forward pass: training, generation, shapes of outputs, names.
HARMLESS = frozenset(
    "_attn_implementation_autoset _name_or_path architectures attention_dropout attn_pdrop bos_token_id"
    " chunk_size_feed_forward classifier_dropout do_sample dtype embd_pdrop eos_token_id finetuning_task"
    " gradient_checkpointing hidden_dropout id2label initializer_range is_decoder is_encoder_decoder"
    " is_llama_config keys_to_ignore_at_inference label2id max_length max_window_layers model_type n_ctx"
    " output_attentions output_hidden_states output_past pad_token_id pretraining_tp problem_type"
    " reorder_and_upcast_attn repetition_penalty resid_pdrop return_dict summary_activation"
    " summary_first_dropout summary_proj_to_labels summary_type summary_use_proj task_specific_params"
    " temperature tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config"
    " transformers_version unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache vocab_size".split()
)
# Keys with the only values that are read: what they would ask for otherwise is not there.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "attn_logit_softcapping": (0, 0.0),
    "final_logit_softcapping": (0, 0.0),
    "num_experts": (0,),
    "num_local_experts": (0,),
    "pruned_heads": ({},),
    "qk_layernorm": (False,),
    "rope_interleaved": (False,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_attn_weights": (True,),
    "use_qk_norm": (False,),
}
FIX = "take another model"


@dataclass(frozen=True)
class Settings:
    """The keys of a config.json, or of a GGUF file under the names that config.json has for them.

    Attributes:
      values: by key, without those that are null.
      where: the file, for messages.
      null: the keys that are null: off.
    """

    values: Mapping[str, Any]
    where: str
    null: frozenset[str] = frozenset()

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> "Settings":
        null = frozenset(name for name, value in values.items() if value is None)
        return cls({name: value for name, value in values.items() if name not in null}, where, null)

    def known(self, read: frozenset[str]) -> None:
        """ValueError for a key that asks for something that is not there, or that is not known."""
        for name, value in self.values.items():
            if name in FIXED:
                allowed = " or ".join(map(repr, FIXED[name]))
                self.need(value in FIXED[name], name, value, f"{allowed}: nothing else is there")
            elif name not in read | HARMLESS:
                limit = "a key that is known, since others may change what the model computes"
                fix = "take it out of the file if it changes nothing"
                require(False, f"{name} in {self.where}", value, limit, fix)

    def need(self, holds: bool, name: str, value: Any, limit: str, fix: str = FIX) -> None:
        """ValueError that says where it stands, unless it holds."""
        require(holds, f"{name} in {self.where}", value, limit, fix)

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int:
        """A whole number, at least `least`; ValueError where it is none, or missing and has no default."""
        value = self.values.get(name, default)
        right = type(value) is int and least <= value < 2**31
        self.need(right, name, value, f"a whole number, at least {least}", "restore a copy")
        assert isinstance(value, int)
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """A finite number above 0."""
        return positive_number(self.values.get(name, default), f"{name} in {self.where}")

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        self.need(isinstance(value, bool), name, value, "true or false", "restore a copy")
        return bool(value)

    def choice(self, name: str, default: str, known: Mapping[str, Any]) -> Any:
        """What `known` has for the word that stands there."""
        value = self.values.get(name, default)
        right = isinstance(value, str) and value in known
        self.need(right, name, value, f"one of {', '.join(known)}: nothing else is there")
        return known[str(value)]

    def rotary(
        self, base: str = "rope_theta", share: str = "partial_rotary_factor", default: float = 1.0
    ) -> tuple[float, RotaryConfig]:
        """Base and the rest of rotary positions, in the keys of transformers before and from version 5 on.

        Args:
          base: the old key of the base.
          share: the old key of the share of coordinates that turn.
          default: of the share.
        """
        old, new = self.values.get("rope_scaling"), self.values.get("rope_parameters")
        for name, group in (("rope_scaling", old), ("rope_parameters", new)):
            self.need(group is None or isinstance(group, dict), name, group, "an object", "restore a copy")
        group = {
            "rope_theta": self.values.get(base, 10000.0),
            "partial_rotary_factor": self.values.get(share, default),
        }
        group |= dict(old or {}) | dict(new or {})
        kind = group.get("rope_type", group.get("type", "default"))
        where = f"rope_parameters of {self.where}"
        known = {"default": (), "linear": ("factor",), "llama3": LLAMA3}
        limit = f"one of {', '.join(known)}: no other scaling of rotary positions is there"
        require(isinstance(kind, str) and kind in known, f"rope_type in {where}", kind, limit, FIX)
        asked = ("rope_theta", "partial_rotary_factor", "rope_type", "type", *known[kind])
        for name, value in group.items():
            require(name in asked or value is None, f"{name} in {where}", value, f"left out with {kind}", FIX)
        numbers = {
            name: positive_number(group.get(name), f"{name} in {where}")
            for name in ("rope_theta", "partial_rotary_factor", *known[kind])
        }
        rotary = RotaryConfig(
            numbers["partial_rotary_factor"],
            RotaryLayout.HALVES,
            {"default": RotaryScaling.NONE}.get(kind) or RotaryScaling(kind),
            numbers.get("factor", 1.0),
        )
        if kind == "llama3":
            first, last, length = (numbers[name] for name in LLAMA3[1:])
            rotary = RotaryConfig(
                rotary.share, rotary.layout, rotary.scaling, rotary.factor, first, last, int(length)
            )
        return numbers["rope_theta"], rotary

    def window(self, length: int, window: int) -> None:
        """ValueError where a sliding window is shorter than the texts that are read."""
        limit = f"at least the text's length ({length}): shorter sliding windows are not there"
        fix = f"load it with length={window}"
        self.need(window >= length, "sliding_window", window, limit, fix)


LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def positive_number(value: Any, name: str) -> float:
    """ValueError unless it is a finite number above 0."""
    right = type(value) in (int, float) and 0 < value < float("inf")
    require(right, name, value, "a finite number above 0", "restore a copy")
    return float(value)


def rotary_settings(base: float, rotary: RotaryConfig) -> dict[str, Any]:
    """`rope_parameters` of a config.json."""
    found: dict[str, Any] = {"rope_theta": base, "rope_type": "default"}
    if rotary.share != 1.0:
        found["partial_rotary_factor"] = rotary.share
    if rotary.scaling != RotaryScaling.NONE:
        found |= {"rope_type": rotary.scaling.value, "factor": rotary.factor}
    if rotary.scaling == RotaryScaling.LLAMA3:
        found |= dict(
            zip(LLAMA3[1:], (rotary.low_factor, rotary.high_factor, rotary.original_length), strict=True)
        )
    return found

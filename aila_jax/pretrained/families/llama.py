"""Llama and what is built like it: RMSNorm, SwiGLU, grouped key heads, rotary positions."""

from dataclasses import dataclass
from typing import Any

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind
from aila_jax.config.choices import RotaryLayout
from aila_jax.pretrained.families.fit import first_misfit
from aila_jax.pretrained.naming import Style
from aila_jax.pretrained.settings import Settings, rotary_settings

_LAYER = "model.layers.{}"
STYLE = Style(
    {
        "embedding": "model.embed_tokens",
        "output": "lm_head",
        "final_norm": "model.norm",
        "attention_norm": f"{_LAYER}.input_layernorm",
        "query": f"{_LAYER}.self_attn.q_proj",
        "key": f"{_LAYER}.self_attn.k_proj",
        "value": f"{_LAYER}.self_attn.v_proj",
        "out": f"{_LAYER}.self_attn.o_proj",
        "mlp_norm": f"{_LAYER}.post_attention_layernorm",
        "mlp_gate": f"{_LAYER}.mlp.gate_proj",
        "mlp_in": f"{_LAYER}.mlp.up_proj",
        "mlp_out": f"{_LAYER}.mlp.down_proj",
    }
)
_READ = frozenset(
    "attention_bias head_dim hidden_act hidden_size intermediate_size layer_types max_position_embeddings"
    " mlp_bias num_attention_heads num_hidden_layers num_key_value_heads partial_rotary_factor rms_norm_eps"
    " rope_parameters rope_scaling rope_theta sliding_window tie_word_embeddings use_sliding_window".split()
)
_ACTIVATIONS = {"silu": FeedForwardKind.SWIGLU, "swish": FeedForwardKind.SWIGLU}
_LAYERS = ("full_attention", "sliding_attention")


@dataclass(frozen=True)
class Llama:
    """The family of `model_type` llama, mistral and qwen2.

    Attributes:
      model_type: its name in config.json.
      biased: queries, keys and values have biases whatever the file says, and attention's output has none.
      window: the sliding window where the file names none.
    """

    model_type: str
    biased: bool = False
    window: int = 4096
    style: Style = STYLE

    def longest(self, settings: Settings) -> int:
        return settings.whole("max_position_embeddings", 2048)

    def config(self, settings: Settings, length: int) -> ModelConfig:
        """The decoder that the settings describe, for texts of at most `length` tokens."""
        settings.known(_READ)
        heads, width = settings.whole("num_attention_heads"), settings.whole("hidden_size")
        groups = settings.whole("num_key_value_heads", heads)
        head = settings.whole("head_dim", max(width // heads, 1))
        base, rotary = settings.rotary()
        settings.need(rotary.share == 1.0, "partial_rotary_factor", rotary.share, "1 in this family")
        self._check_windows(settings, length)
        biases = self.biased or settings.flag("attention_bias", False)
        return ModelConfig(
            length=length,
            d_model=width,
            n_heads=heads,
            n_kv_heads=0 if groups == heads else groups,
            head_width=0 if head * heads == width else head,
            d_ff=settings.whole("intermediate_size"),
            n_layers=settings.whole("num_hidden_layers"),
            norm=NormKind.RMS,
            norm_epsilon=settings.real("rms_norm_eps", 1e-6),
            feed_forward=settings.choice("hidden_act", "silu", _ACTIVATIONS),
            rotary_base=base,
            rotary=rotary,
            learned_positions=False,
            tied=settings.flag("tie_word_embeddings", False),
            qkv_bias=biases,
            out_bias=biases and not self.biased,
            mlp_bias=settings.flag("mlp_bias", False),
        )

    def settings(self, config: ModelConfig) -> dict[str, Any]:
        """The config.json of a decoder of this family, without what all of them have."""
        found = {
            "hidden_size": config.d_model,
            "intermediate_size": config.d_ff,
            "num_hidden_layers": config.n_layers,
            "num_attention_heads": config.n_heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_size,
            "hidden_act": "silu",
            "max_position_embeddings": config.length,
            "rms_norm_eps": config.norm_epsilon,
            "rope_parameters": rotary_settings(config.rotary_base, config.rotary),
        }
        if self.model_type == "mistral":
            return {**found, "sliding_window": None}
        return (
            found
            if self.biased
            else {
                **found,
                "attention_bias": config.qkv_bias,
                "mlp_bias": config.mlp_bias,
            }
        )

    def misfit(self, config: ModelConfig) -> str:
        """A setting that no decoder of this family has, as model.norm='centred'; empty where it fits."""
        free = self.model_type == "llama"  # its biases are settings; the others' are not
        return first_misfit(
            config,
            (
                ("norm", config.norm == NormKind.RMS),
                ("feed_forward", config.feed_forward == FeedForwardKind.SWIGLU),
                ("learned_positions", not config.learned_positions),
                ("rotary_base", bool(config.rotary_base)),
                ("rotary.share", config.rotary.share == 1.0),
                ("rotary.layout", config.rotary.layout == RotaryLayout.HALVES),
                ("parallel", not config.parallel),
                ("qkv_bias", free or config.qkv_bias == self.biased),
                ("out_bias", config.out_bias == (free and config.qkv_bias)),
                ("mlp_bias", free or not config.mlp_bias),
            ),
        )

    def _check_windows(self, settings: Settings, length: int) -> None:
        """No layer looks back less far than the text is long."""
        layers = settings.values.get("layer_types", [])
        right = isinstance(layers, list) and all(one in _LAYERS for one in layers)
        settings.need(right, "layer_types", layers, f"{' or '.join(_LAYERS)} for each layer")
        on = settings.flag("use_sliding_window", self.model_type == "mistral")
        if (on or "sliding_attention" in layers) and "sliding_window" not in settings.null:
            settings.window(length, settings.whole("sliding_window", self.window))


LLAMA = Llama("llama")
MISTRAL = Llama("mistral")
QWEN2 = Llama("qwen2", biased=True)

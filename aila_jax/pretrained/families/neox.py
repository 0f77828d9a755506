"""GPT-NeoX, as Pythia: LayerNorm with scale and bias, attention and feed-forward side by side, and rotary
positions of a part of each head.
"""

from dataclasses import dataclass
from typing import Any

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind
from aila_jax.config.choices import RotaryLayout
from aila_jax.pretrained.families.fit import first_misfit
from aila_jax.pretrained.families.gpt2 import ACTIVATIONS, normed
from aila_jax.pretrained.naming import Fused, Style
from aila_jax.pretrained.settings import Settings, rotary_settings

_LAYER = "gpt_neox.layers.{}"
STYLE = Style(
    {
        "embedding": "gpt_neox.embed_in",
        "output": "embed_out",
        "final_norm": "gpt_neox.final_layer_norm",
        "attention_norm": f"{_LAYER}.input_layernorm",
        "fused": f"{_LAYER}.attention.query_key_value",
        "out": f"{_LAYER}.attention.dense",
        "mlp_norm": f"{_LAYER}.post_attention_layernorm",
        "mlp_in": f"{_LAYER}.mlp.dense_h_to_4h",
        "mlp_out": f"{_LAYER}.mlp.dense_4h_to_h",
    },
    fused=Fused.BY_HEAD,
)
_READ = frozenset(
    "attention_bias hidden_act hidden_size intermediate_size layer_norm_eps max_position_embeddings"
    " num_attention_heads num_hidden_layers partial_rotary_factor rope_parameters rope_scaling rope_theta"
    " rotary_emb_base rotary_pct tie_word_embeddings use_parallel_residual".split()
)


@dataclass(frozen=True)
class NeoX:
    """The family of `model_type` gpt_neox."""

    model_type: str = "gpt_neox"
    style: Style = STYLE

    def longest(self, settings: Settings) -> int:
        return settings.whole("max_position_embeddings", 2048)

    def config(self, settings: Settings, length: int) -> ModelConfig:
        """The decoder that the settings describe, for texts of at most `length` tokens."""
        settings.known(_READ)
        base = "rope_theta" if "rope_theta" in settings.values else "rotary_emb_base"
        share = "partial_rotary_factor" if "partial_rotary_factor" in settings.values else "rotary_pct"
        rotary_base, rotary = settings.rotary(base, share, 0.25)
        biases = settings.flag("attention_bias", True)
        width = settings.whole("hidden_size")
        return ModelConfig(
            length=length,
            d_model=width,
            n_heads=settings.whole("num_attention_heads"),
            d_ff=settings.whole("intermediate_size", 4 * width),
            n_layers=settings.whole("num_hidden_layers"),
            norm=NormKind.LAYER,
            norm_epsilon=settings.real("layer_norm_eps", 1e-5),
            feed_forward=settings.choice("hidden_act", "gelu", ACTIVATIONS),
            parallel=settings.flag("use_parallel_residual", True),
            rotary_base=rotary_base,
            rotary=rotary,
            learned_positions=False,
            tied=settings.flag("tie_word_embeddings", False),
            qkv_bias=biases,
            out_bias=biases,
        )

    def settings(self, config: ModelConfig) -> dict[str, Any]:
        """The config.json of a decoder of this family, without what all of them have."""
        exact = config.feed_forward == FeedForwardKind.GELU_EXACT
        rope = rotary_settings(config.rotary_base, config.rotary)
        return {
            "hidden_size": config.d_model,
            "intermediate_size": config.d_ff,
            "num_hidden_layers": config.n_layers,
            "num_attention_heads": config.n_heads,
            "hidden_act": "gelu" if exact else "gelu_new",
            "max_position_embeddings": config.length,
            "layer_norm_eps": config.norm_epsilon,
            "use_parallel_residual": config.parallel,
            "attention_bias": config.qkv_bias,
            "rope_parameters": {**rope, "partial_rotary_factor": config.rotary.share},
        }

    def misfit(self, config: ModelConfig) -> str:
        """A setting that no decoder of this family has, as model.norm='centred'; empty where it fits."""
        return first_misfit(
            config,
            (
                *normed(config),
                ("learned_positions", not config.learned_positions),
                ("rotary_base", bool(config.rotary_base)),
                ("rotary.layout", config.rotary.layout == RotaryLayout.HALVES),
                ("out_bias", config.qkv_bias == config.out_bias),
            ),
        )


NEOX = NeoX()

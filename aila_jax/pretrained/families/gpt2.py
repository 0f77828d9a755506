"""GPT-2: LayerNorm with scale and bias, GELU, learned positions; matrices are [inputs, outputs]."""

from dataclasses import dataclass
from typing import Any

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind
from aila_jax.pretrained.families.fit import Fits, first_misfit
from aila_jax.pretrained.naming import Fused, Style
from aila_jax.pretrained.settings import Settings

_LAYER = "transformer.h.{}"
STYLE = Style(
    {
        "embedding": "transformer.wte",
        "position": "transformer.wpe",
        "output": "lm_head",
        "final_norm": "transformer.ln_f",
        "attention_norm": f"{_LAYER}.ln_1",
        "fused": f"{_LAYER}.attn.c_attn",
        "out": f"{_LAYER}.attn.c_proj",
        "mlp_norm": f"{_LAYER}.ln_2",
        "mlp_in": f"{_LAYER}.mlp.c_fc",
        "mlp_out": f"{_LAYER}.mlp.c_proj",
    },
    fused=Fused.STACKED,
    inputs_first=True,
)
_READ = frozenset(
    "activation_function layer_norm_epsilon n_embd n_head n_inner n_layer n_positions tie_word_embeddings".split()
)
ACTIVATIONS = {
    "gelu": FeedForwardKind.GELU_EXACT,
    "gelu_new": FeedForwardKind.GELU,
    "gelu_fast": FeedForwardKind.GELU,
    "gelu_pytorch_tanh": FeedForwardKind.GELU,
}


@dataclass(frozen=True)
class Gpt2:
    """The family of `model_type` gpt2."""

    model_type: str = "gpt2"
    style: Style = STYLE

    def longest(self, settings: Settings) -> int:
        return settings.whole("n_positions", 1024)

    def config(self, settings: Settings, length: int) -> ModelConfig:
        """The decoder that the settings describe, for texts of at most `length` tokens."""
        settings.known(_READ)
        width = settings.whole("n_embd", 768)
        return ModelConfig(
            length=length,
            d_model=width,
            n_heads=settings.whole("n_head", 12),
            d_ff=settings.whole("n_inner", 4 * width),
            n_layers=settings.whole("n_layer", 12),
            norm=NormKind.LAYER,
            norm_epsilon=settings.real("layer_norm_epsilon", 1e-5),
            feed_forward=settings.choice("activation_function", "gelu_new", ACTIVATIONS),
            tied=settings.flag("tie_word_embeddings", True),
            qkv_bias=True,
        )

    def settings(self, config: ModelConfig) -> dict[str, Any]:
        """The config.json of a decoder of this family, without what all of them have."""
        exact = config.feed_forward == FeedForwardKind.GELU_EXACT
        return {
            "n_embd": config.d_model,
            "n_inner": config.d_ff,
            "n_layer": config.n_layers,
            "n_head": config.n_heads,
            "n_positions": config.length,
            "activation_function": "gelu" if exact else "gelu_new",
            "layer_norm_epsilon": config.norm_epsilon,
        }

    def misfit(self, config: ModelConfig) -> str:
        """A setting that no decoder of this family has, as model.norm='centred'; empty where it fits."""
        return first_misfit(
            config,
            (
                *normed(config),
                ("learned_positions", config.learned_positions),
                ("rotary_base", not config.rotary_base),
                ("parallel", not config.parallel),
                ("qkv_bias", config.qkv_bias),
                ("out_bias", config.out_bias),
            ),
        )


def normed(config: ModelConfig) -> Fits:
    """LayerNorms with scale and bias, GELU with biases, as many key heads as heads of the usual width."""
    return (
        ("norm", config.norm == NormKind.LAYER),
        ("feed_forward", config.feed_forward != FeedForwardKind.SWIGLU),
        ("mlp_bias", config.mlp_bias),
        ("n_kv_heads", config.kv_heads == config.n_heads),
        ("head_width", config.head_size * config.n_heads == config.d_model),
    )


GPT2 = Gpt2()

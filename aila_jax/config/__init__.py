"""One frozen, self-validating dataclass per stage, and `Config`, which holds them all.

Every setting is stated once, in the module of its stage, with its unit and its limits. A value outside its
limits raises ValueError when the dataclass is made, so nothing later needs to check again.
"""

from aila_jax.config.adapters import PROJECTIONS, AdapterConfig
from aila_jax.config.checks import MAX_TAU, MIN_TAU, check_lam, check_tau, one_of, require, user_path
from aila_jax.config.choices import (
    AttentionRoute,
    DialMode,
    Estimator,
    FeedForwardKind,
    GroupWeights,
    InitKind,
    LayerBlocks,
    MarginForm,
    NormKind,
    OptimizerKind,
    PartitionKind,
    PointerKind,
    Remat,
    RotaryLayout,
    RotaryScaling,
    Solver,
    TrainedPart,
)
from aila_jax.config.conflict import SettingsConflict
from aila_jax.config.data import TFDS_NAME, DataConfig, RuleConfig
from aila_jax.config.locality import LocalityConfig
from aila_jax.config.mesh import MeshConfig
from aila_jax.config.model import DIAL_WEIGHTS, MAX_MARGIN, MarginConfig, ModelConfig
from aila_jax.config.partition import AnchorConfig, PartitionConfig, check_recruitment
from aila_jax.config.penalty import PenaltyConfig
from aila_jax.config.questions import QUESTION_SETTINGS, QuestionConfig
from aila_jax.config.relation import ALL_BLOCKS, RelationConfig
from aila_jax.config.root import Config, check_unread
from aila_jax.config.rotary import RotaryConfig
from aila_jax.config.route import check_route
from aila_jax.config.serialize import by_rules_of, from_dict, name_now, saved_config, to_dict, unknown_key
from aila_jax.config.sweep import SweepConfig
from aila_jax.config.train import TrainConfig

__all__ = [
    "AttentionRoute",
    "Solver",
    "TrainedPart",
    "PartitionKind",
    "PointerKind",
    "Remat",
    "LayerBlocks",
    "ALL_BLOCKS",
    "MarginForm",
    "NormKind",
    "OptimizerKind",
    "FeedForwardKind",
    "InitKind",
    "RotaryLayout",
    "RotaryScaling",
    "RotaryConfig",
    "GroupWeights",
    "Estimator",
    "DialMode",
    "DIAL_WEIGHTS",
    "MIN_TAU",
    "MAX_MARGIN",
    "MAX_TAU",
    "TFDS_NAME",
    "PROJECTIONS",
    "AdapterConfig",
    "AnchorConfig",
    "Config",
    "DataConfig",
    "LocalityConfig",
    "MarginConfig",
    "MeshConfig",
    "ModelConfig",
    "PartitionConfig",
    "PenaltyConfig",
    "RelationConfig",
    "RuleConfig",
    "QUESTION_SETTINGS",
    "QuestionConfig",
    "SettingsConflict",
    "SweepConfig",
    "TrainConfig",
    "by_rules_of",
    "check_lam",
    "check_recruitment",
    "check_tau",
    "check_route",
    "check_unread",
    "from_dict",
    "name_now",
    "one_of",
    "require",
    "saved_config",
    "user_path",
    "to_dict",
    "unknown_key",
]

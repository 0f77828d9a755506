"""What fused attention asks of a run's settings, before it begins."""

from dataclasses import replace

import pytest

from aila_jax import presets
from aila_jax.config import (
    AnchorConfig,
    Config,
    LocalityConfig,
    MarginConfig,
    ModelConfig,
    PartitionConfig,
    RelationConfig,
    check_route,
)

FUSED = Config(model=ModelConfig(attention="fused"))
SELF_SCALING = MarginConfig("self_scaling")
REFUSED = {
    r"model.score_cap is 8.0; it must be 0 when model.attention is 'fused'": replace(
        FUSED, model=replace(FUSED.model, score_cap=8.0)
    ),
    r"model.margin.range is 'exact'; it must be 'norms'": replace(
        FUSED, model=replace(FUSED.model, margin=SELF_SCALING)
    ),
    r"relation.sink is True; it must be false": replace(FUSED, relation=RelationConfig(sink=True)),
    r"relation.pointers is 'ends'; it must be 'none'": replace(
        FUSED, relation=RelationConfig(pointers="ends")
    ),
    r"relation.layers is .*; it must be of 'own', 'windows' and 'all'": replace(
        FUSED, relation=RelationConfig(layers=("own", "sentences"))
    ),
    r"partition.kind is 'segments'; it must be 'windows' or classes": replace(
        FUSED, partition=PartitionConfig(kind="segments")
    ),
    r"locality.pressure is 0.1; it must be 0": replace(FUSED, locality=LocalityConfig(pressure=0.1)),
    r"anchors.estimator is 'attention'; it must be 'corpus' or 'none'": replace(
        FUSED, anchors=AnchorConfig("attention"), train=replace(FUSED.train, warmup_steps=5)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_fused_attention_does_not_take_is_refused_by_name(message: str) -> None:
    config = REFUSED[message]
    with pytest.raises(ValueError, match=message):
        check_route(config)
    check_route(replace(config, model=replace(config.model, attention="auto")))


def test_what_it_takes_is_taken() -> None:
    check_route(FUSED)
    check_route(replace(FUSED, relation=RelationConfig(layers=("own", "windows:8"))))
    norms = replace(FUSED.model, margin=replace(SELF_SCALING, range="norms"))
    check_route(replace(FUSED, model=norms))
    check_route(presets.tiny())

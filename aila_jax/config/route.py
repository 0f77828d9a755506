"""What a run must be for fused attention, as far as its settings say."""

from aila_jax.config.checks import Rule, check_rules
from aila_jax.config.choices import AttentionRoute, Estimator, LayerBlocks, MarginForm, PartitionKind
from aila_jax.config.root import Config

COUNTED = (LayerBlocks.OWN, LayerBlocks.WINDOWS, LayerBlocks.ALL)  # blocks whose number is known


def check_route(config: Config) -> None:
    """Raises ValueError where `model.attention` is fused and something that training reads forbids it.

    Asked where something new begins, before work starts. What is asked of a trained model, such as score
    gaps, is refused where it is asked.
    """
    if config.model.attention != AttentionRoute.FUSED:
        return
    model, relation, partition = config.model, config.relation, config.partition
    exact = model.margin.form == MarginForm.SELF_SCALING and model.margin.range == "exact"
    classes = partition.fitted and not partition.makes_segments
    counted = partition.kind == PartitionKind.WINDOWS or classes
    by_layer = all(blocks in COUNTED for blocks, _ in relation.layer_blocks)
    auto, when = "or --config.model.attention=auto", "when model.attention is 'fused'"
    rules: tuple[Rule, ...] = (
        ("model.score_cap", model.score_cap == 0.0,
         f"0 {when}: a cap comes between scores and margin", f"set --config.model.score_cap=0, {auto}"),
        ("model.margin.range", model.hard or not exact, f"'norms' {when}: the exact range needs the scores",
         f"set --config.model.margin.range=norms, {auto}"),
        ("relation.sink", not relation.sink, f"false {when}: inside must be a matter of blocks alone",
         f"set --config.relation.sink=false, {auto}"),
        ("relation.pointers", not relation.points, f"'none' {when}: inside must be a matter of blocks alone",
         f"set --config.relation.pointers=none, {auto}"),
        ("relation.layers", by_layer, f"of 'own', 'windows' and 'all' {when}: the number of blocks must be known",
         f"leave it empty, {auto}"),
        ("partition.kind", counted, f"'windows' or classes {when}: the number of blocks must be known",
         f"set --config.partition.kind=windows, {auto}"),
        ("locality.pressure", config.locality.pressure == 0.0,
         f"0 {when}: the logarithm of block mass needs the scores", f"set --config.locality.pressure=0, {auto}"),
        ("anchors.estimator", config.anchors.estimator != Estimator.ATTENTION,
         f"'corpus' or 'none' {when}: entropy inside the block needs the scores",
         f"set --config.anchors.estimator=corpus, {auto}"),
    )  # fmt: skip
    check_rules("", config, rules)

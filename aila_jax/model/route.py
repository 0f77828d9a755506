"""Which way attention is computed, from shapes that are known when it is compiled."""

from dataclasses import dataclass

import jax

from aila_jax.config import AttentionRoute, one_of, require

SHORTEST = 128  # L from which tiles are faster on a CPU (docs/speed.md)
MOST = 2**28  # bytes of one array of scores, above which an accelerator takes tiles
TILE = 2**20  # bytes of a tile of scores: what stays in a core's cache
LARGEST, SMALLEST = 512, 16  # tokens a side of a tile
PARTS = 4  # sides of a tile that L has at least on a CPU: tiles on the diagonal are half in vain
HARD = 64  # the largest on a CPU where blocks alone are attended to, whose tiles are few
WITH_WEIGHTS = "auto or reference where weights are returned, which other routes do not have at once"


def may_fuse(route: AttentionRoute, length: int, weights: bool) -> bool:
    """Whether fused attention is to be taken where it holds: where it is asked for, and from so many tokens
    on by itself on a GPU, whose kernel it is.

    Raises:
      ValueError: it is asked for, and weights.
    """
    forced = route == AttentionRoute.FUSED
    require(not (forced and weights), "route", str(route), WITH_WEIGHTS, "leave it out")
    itself = route == AttentionRoute.AUTO and jax.default_backend() == "gpu" and length >= SHORTEST
    return forced or (itself and not weights)


@dataclass(frozen=True)
class TileSize:
    """Of the scores that exist at once.

    Attributes:
      side: queries, and keys.
      heads: of them; a divisor of H.
    """

    side: int
    heads: int


def tile_of(
    route: AttentionRoute,
    shape: tuple[int, int, int],
    weights: bool,
    cpu: bool | None = None,
    hard: bool = False,
) -> TileSize | None:
    """The size of a tile; None for the reference.

    On a CPU it is as wide as the cache allows, since products of wide tiles are the faster ones, and then of
    as many heads.

    Args:
      route: as asked for.
      shape: B, H and L.
      weights: whether the weights themselves are returned, which only the reference has.
      cpu: whether it is for a CPU; None: for the devices of this process.
      hard: whether only keys inside are attended to.

    Raises:
      ValueError: tiles are asked for, and weights.
    """
    batch, heads, length = shape
    forced = route == AttentionRoute.CHUNKED
    require(not (forced and weights), "route", str(route), WITH_WEIGHTS, "leave it out")
    if route == AttentionRoute.REFERENCE or weights:
        return None
    cpu = jax.default_backend() == "cpu" if cpu is None else cpu
    if not forced and not (length >= SHORTEST if cpu else 4 * batch * heads * length**2 > MOST):
        return None
    if not cpu:
        return TileSize(min(LARGEST, length), heads)
    largest, side = min(HARD if hard else LARGEST, max(length // PARTS, SMALLEST)), SMALLEST
    while 2 * side <= largest and 4 * batch * (2 * side) ** 2 <= TILE:
        side *= 2
    side = min(side, length)
    together = max(TILE // (4 * batch * side**2), 1)
    return TileSize(side, max(one for one in range(1, heads + 1) if heads % one == 0 and one <= together))


def route_named(route: AttentionRoute | str) -> AttentionRoute:
    """The route of that name; ValueError where there is none."""
    one_of("route", route, tuple(AttentionRoute))
    return AttentionRoute(route)

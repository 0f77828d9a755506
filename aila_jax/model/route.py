"""Which way attention is computed, from shapes that are known when it is compiled."""

import jax

from aila_jax.config import AttentionRoute, one_of, require

SHORTEST = 128  # L from which tiles are faster on a CPU (docs/speed.md)
MOST = 2**28  # bytes of one array of scores, above which an accelerator takes tiles
TILE = 2**20  # bytes of a tile of scores: what stays in a core's cache
LARGEST, SMALLEST = 512, 16  # tokens a side of a tile


def tile_of(route: AttentionRoute, shape: tuple[int, int, int], weights: bool) -> tuple[int, int] | None:
    """The queries and keys of a tile; None for the reference.

    Args:
      route: as asked for.
      shape: B, H and L.
      weights: whether the weights themselves are returned, which only the reference has.

    Raises:
      ValueError: tiles are asked for, and weights.
    """
    batch, heads, length = shape
    forced = route == AttentionRoute.CHUNKED
    require(
        not (forced and weights),
        "route",
        str(route),
        "auto or reference where weights are returned, which tiles do not have at once",
        "leave it out",
    )
    if route == AttentionRoute.REFERENCE or weights:
        return None
    cpu = jax.default_backend() == "cpu"
    if not forced and not (length >= SHORTEST if cpu else 4 * batch * heads * length**2 > MOST):
        return None
    side = SMALLEST
    while side < LARGEST and 4 * batch * heads * (2 * side) ** 2 <= TILE:
        side *= 2
    side = min(side if cpu else LARGEST, length)
    return side, side


def route_named(route: AttentionRoute | str) -> AttentionRoute:
    """The route of that name; ValueError where there is none."""
    one_of("route", route, tuple(AttentionRoute))
    return AttentionRoute(route)

"""The name that a wrong one was meant to be."""

import difflib
from collections.abc import Sequence


def nearest(name: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The known name that `name` most likely means, or None.

    That is one with the same last part (`steps` for `train.steps`), else one whose last part has all its
    words (`temperature` for `sample_temperature`), the shorter first, else one that is spelt alike.
    """
    words = _words(name)
    same = [(len(_words(one) - words), len(one), one) for one in known if words <= _words(one)]
    if words and same:
        return min(same)[2]
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return close[0] if close else None


def _words(name: str) -> set[str]:
    """The words of the last part of a dotted name."""
    return set(name.rsplit(".", 1)[-1].lower().replace("-", "_").split("_")) - {""}

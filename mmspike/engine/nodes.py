"""The values of a config, with the dotted keys that lead to them."""

from collections.abc import Iterable, Iterator
from typing import Any


def walk(node: object, at: str = '') -> Iterator[tuple[str, Any]]:
    """Yield every dotted key below a node, as ``--cfg-options`` writes it, and what stands there.

    Args:
        node: A dict, list or tuple of a config; of anything else nothing is yielded.
        at: The dotted key of the node itself.
    """
    items: Iterable = ()
    if isinstance(node, dict):
        # dict.items: a ConfigDict's own would import what a lazy config only names.
        items = dict.items(node)
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    for key, value in items:
        place = f'{at}.{key}' if at else str(key)
        yield place, value
        yield from walk(value, place)

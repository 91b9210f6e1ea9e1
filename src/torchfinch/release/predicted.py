"""What a handler of the SDK says of its predictions, out of the metrics page of its server. Pure."""

from collections.abc import Iterable

from torchfinch.release.exposition import Sample

NAMES = ("torchfinch_predictions_total", "torchfinch_confidence_bucket")
_CLASSES = 50
"""Bins of classes; those of a higher number share bins, so that a thousand classes cost no more than fifty."""
_EDGES = (*(f"{edge / 20:g}" for edge in range(1, 21)), "+Inf")


def predicted(found: Iterable[Sample]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`classes` and `confidences` of `state.Counters`; both empty where nothing is told."""
    classes, within = [0] * _CLASSES, dict.fromkeys(_EDGES, 0)
    for sample in found:
        if sample.name == NAMES[0]:
            classes[int(sample.labels["class"]) % _CLASSES] += int(sample.value)
        elif sample.name == NAMES[1]:
            within[sample.labels["le"]] += int(sample.value)
    return tuple(classes) if any(classes) else (), tuple(within.values()) if within["+Inf"] else ()

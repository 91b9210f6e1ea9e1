"""The handler of an image classifier: probabilities, labels and the top classes."""

from typing import Any

from torch import Tensor

from torchfinch.handler.answers import JSON, shorten
from torchfinch.handler.errors import ArchiveError, HandlerError
from torchfinch.handler.image_handler import ImageHandler
from torchfinch.handler.metrics import CONFIDENCE


class ImageClassifier(ImageHandler):
    """Serve a classifier; a stock one overrides nothing."""

    def predict(self, batch: Tensor) -> Tensor:
        """Probabilities of shape (N, classes) from a predictor that gives logits."""
        return self.predictor(batch).softmax(dim=1)

    def encode(self, row: Tensor) -> JSON:
        """The best class, and the probabilities of the `top_k` most probable ones by label."""
        labels = self.archive.labels
        if len(row) != len(labels):
            raise HandlerError(f"the model gives {len(row)} classes and the archive names {len(labels)}")
        values, indices = row.topk(self._top_k(len(labels)))
        best = int(indices[0])
        return {
            "predicted_class": best,
            "label": labels[best],
            "confidence": shorten(float(values[0])),
            "probabilities": {labels[i]: shorten(p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)},
        }

    def describe(self) -> JSON:
        """The description of every handler, and the classes."""
        return {**super().describe(), "classes": list(self.archive.labels)}

    def initialize(self, context: Any) -> None:
        """Load, warm up, and refuse labels that do not fit the network."""
        super().initialize(context)
        if len(set(self.archive.labels)) != len(self.archive.labels):
            raise ArchiveError("index_to_name.json names two classes alike; `probabilities` would lose one of them")

    def _top_k(self, classes: int) -> int:
        asked = self.options.top_k if self.options.top_k is not None else int(self.archive.settings.get("top_k") or 5)
        return min(asked or classes, classes)

    def _finish(self, item: Any, row: Tensor) -> Any:
        result = super()._finish(item, row)
        if item.request.kind == "predict" and not isinstance(result, HandlerError):
            confidence, best = row.max(dim=0)
            self._metrics.count("torchfinch_predictions_total", {"class": str(int(best))})
            self._metrics.observe("torchfinch_confidence", float(confidence), CONFIDENCE, {})
        return result

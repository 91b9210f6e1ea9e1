"""An image classifier that refuses what it cannot judge: tiny images, and answers it is not sure of."""

from torch import Tensor

from torchfinch.handler import JSON, ImageClassifier, Unprocessable


class CautiousClassifier(ImageClassifier):
    """Answer "unknown" below a confidence, and refuse images smaller than the network's input."""

    LEAST_CONFIDENCE = 0.5

    def decode(self, body: bytes) -> Tensor:
        """One image, shape (C, H, W); too small a one fails alone, with status 422."""
        image = self.open_image(body)
        height, width = self.archive.preprocessing.size
        if image.width < width or image.height < height:
            raise Unprocessable(f"the image is {image.width}x{image.height}; send at least {width}x{height} pixels")
        return self.archive.preprocessing(image)

    def encode(self, row: Tensor) -> JSON:
        """The answer, with its label replaced where the network is not sure."""
        answer = super().encode(row)
        if answer["confidence"] < self.LEAST_CONFIDENCE:
            answer["label"] = "unknown"
        return answer

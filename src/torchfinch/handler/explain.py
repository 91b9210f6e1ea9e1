"""Why a network answered so: attributions by captum, as numbers or as a heatmap over the image."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from torchfinch.handler.errors import HandlerError, Unprocessable

_OVERLAY = 320
"""Least side of the overlay, pixels; networks of 8x8 images exist."""
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64)


def attribute(network: Any, pixels: Tensor, *, target: int, method: str) -> Tensor:
    """How much each position of `pixels` (1, C, H, W) speaks for class `target`: a tensor of shape (H, W).

    Positive values speak for the class, negative ones against it. Gradients are summed over the channels.

    Raises:
        Unprocessable: the engine of the archive cannot be explained by `method`.
    """
    try:
        from captum import attr  # noqa: PLC0415 - loading captum takes a second that classifying does not need
    except ImportError as error:
        raise HandlerError("explanations need captum on the server: pip install captum") from error

    if method != "occlusion" and not isinstance(network, nn.Module):
        raise Unprocessable(f"{method} needs gradients, and this archive's engine has none; use occlusion")
    size = pixels.shape[-2:]
    pixels = pixels.clone().requires_grad_()
    if method == "saliency":
        found = attr.Saliency(network).attribute(pixels, target=target, abs=False)
    elif method == "integrated_gradients":
        found = attr.IntegratedGradients(network).attribute(pixels, target=target, n_steps=24, internal_batch_size=8)
    elif method == "grad_cam":
        cam = attr.LayerGradCam(network, _last_convolution(network)).attribute(pixels, target, relu_attributions=True)
        found = attr.LayerAttribution.interpolate(cam, tuple(size), interpolate_mode="bilinear")
    else:
        found = _occlusion(attr.Occlusion(network), pixels, target)
    result: Tensor = found.detach().sum(dim=1)[0].float().cpu()
    return result


def overlay(image: Image.Image, attributions: Tensor) -> bytes:
    """A PNG of the attributions' heatmap over the image that the network saw."""
    width, height = (max(1, round(side * max(1.0, _OVERLAY / min(image.size)))) for side in image.size)
    resample = Image.Resampling.NEAREST if min(image.size) < 64 else Image.Resampling.BICUBIC
    base = np.asarray(image.convert("RGB").resize((width, height), resample), dtype=np.float64)
    strength = np.abs(attributions.numpy())
    strength = strength / max(float(np.quantile(strength, 0.99)), 1e-12)
    heat = Image.fromarray((strength.clip(0, 1) * 255).astype(np.uint8)).resize((width, height))
    heat = heat.filter(ImageFilter.GaussianBlur(max(width, height) / 80))  # single pixels mean nothing to an eye
    level = np.asarray(heat, dtype=np.float64) / 255
    colours = np.stack([np.interp(level, np.linspace(0, 1, len(_COLOURS)), _COLOURS[:, c]) for c in range(3)], axis=-1)
    weight = (0.25 + 0.6 * level)[..., None]
    grey = base.mean(axis=-1, keepdims=True)
    blended = grey * (1 - weight) + colours * weight
    stream = io.BytesIO()
    Image.fromarray(blended.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _last_convolution(network: nn.Module) -> nn.Module:
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if not layers:
        raise Unprocessable("grad_cam needs a convolution, and this network has none; use integrated_gradients")
    return layers[-1]


def _occlusion(method: Any, pixels: Tensor, target: int) -> Tensor:
    channels, height, width = pixels.shape[1:]
    window = (channels, max(1, height // 7), max(1, width // 7))
    strides = (channels, max(1, window[1] // 2), max(1, window[2] // 2))
    with torch.no_grad():
        found: Tensor = method.attribute(
            pixels.detach(), target=target, sliding_window_shapes=window, strides=strides, perturbations_per_eval=16
        )
    return found

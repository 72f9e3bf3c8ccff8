"""What each kind of small model takes as input, and one run of it reduced to a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def text() -> dict[str, Any]:
    import torch

    return {"input_ids": torch.tensor([[1, 5, 6, 7, 8, 9, 10, 2]])}


def text_to_text() -> dict[str, Any]:
    import torch

    return text() | {"decoder_input_ids": torch.tensor([[0, 3, 4]])}


def image(size: int = 32, channels: tuple[int, ...] = (1, 3)) -> dict[str, Any]:
    import torch

    count = size * size
    for channel in channels:
        count *= channel
    return {"pixel_values": torch.linspace(-1, 1, count).reshape(*channels, size, size)}


def image_then_text() -> dict[str, Any]:
    import torch

    # 16 patches of the 32 x 32 image, each at a place of its own in the text.
    return image() | {"input_ids": torch.tensor([[1, *[90] * 16, 5, 6, 7]])}


def image_tiles() -> dict[str, Any]:
    import torch

    # The whole image and one tile, 4 x 4 patches each, and a newline after every row of the tile.
    ids = torch.tensor([[1, *[90] * (16 + 4 * 5), 5, 6, 7]])
    return image(channels=(1, 2, 3)) | {"input_ids": ids, "image_sizes": torch.tensor([[32, 32]])}


def audio() -> dict[str, Any]:
    import torch

    return {"input_values": torch.sin(torch.linspace(0, 500, 4000)).reshape(1, -1)}


def speech() -> dict[str, Any]:
    import torch

    features = torch.sin(torch.linspace(0, 500, 80 * 3000)).reshape(1, 80, 3000)
    return {"input_features": features, "decoder_input_ids": torch.tensor([[50258, 50259, 50359]])}


def text_to_speech() -> dict[str, Any]:
    import torch

    return text() | {
        "decoder_input_values": torch.zeros(1, 4, 80),
        "speaker_embeddings": torch.linspace(-1, 1, 16).reshape(1, -1),
    }


def text_and_spectrogram() -> dict[str, Any]:
    import torch

    return text() | {"input_features": torch.linspace(-1, 1, 256 * 16).reshape(1, 1, 256, 16)}


INPUTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "text": text,
    "text_to_text": text_to_text,
    "image": image,
    "big_image": lambda: image(size=64),
    "video": lambda: image(channels=(1, 2, 3)),
    "text_and_image": lambda: text() | image(),
    "text_and_video": lambda: text() | image(channels=(1, 2, 3)),
    "image_then_text": image_then_text,
    "image_tiles": image_tiles,
    "audio": audio,
    "speech": speech,
    "text_to_speech": text_to_speech,
    "text_and_spectrogram": text_and_spectrogram,
}


def run_once(model: Any, inputs: str) -> list[float]:
    """One forward pass without training; size, mean and spread of the first tensor it answers with."""
    import torch

    with torch.no_grad():
        torch.manual_seed(0)
        answer = model(**INPUTS[inputs]())
    tensor = next(value for value in answer.values() if isinstance(value, torch.Tensor)).double()
    return [float(tensor.numel()), float(tensor.mean()), float(tensor.std(correction=0))]

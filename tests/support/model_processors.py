"""Small tokenizers, image processors and feature extractors, with what each makes of one fixed input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SENTENCE = "hello hub"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]", *"abcdefghijklmnopqrstuvwxyz", "##l", "##u", "##b"]


def bert() -> Any:
    from transformers import BertTokenizer

    return BertTokenizer(vocab={word: i for i, word in enumerate([*WORDS, "hello", "hub"])})


def byte_level(*special: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level BPE vocabulary with three merges, then `special`."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    ends = [f"{letter}</w>" for letter in letters]
    words = [*letters, *ends, "he", "ll", "hell", *special]
    return {word: i for i, word in enumerate(words)}, [("h", "e"), ("l", "l"), ("he", "ll")]


def clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    vocab, merges = byte_level("<|startoftext|>", "<|endoftext|>")
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=16)


def qwen2_tokenizer() -> Any:
    from transformers import Qwen2Tokenizer

    vocab, merges = byte_level("<|endoftext|>")
    return Qwen2Tokenizer(vocab=vocab, merges=merges)


def t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz", "▁hello", "▁hub"]
    return T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=2)


def llama_tokenizer() -> Any:
    from transformers import LlamaTokenizer

    words = ["<unk>", "<s>", "</s>", "▁", *"abcdefghijklmnopqrstuvwxyz", "he", "ll", "hell"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll")]
    return LlamaTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges)


def whisper_tokenizer() -> Any:
    """Whisper's real vocabulary size and its special tokens at their real places; the words between are made up."""
    from transformers import WhisperTokenizer
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    vocab, merges = byte_level()
    vocab |= {f"word{i}": i for i in range(len(vocab), 50257)}
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{language}|>" for language in list(LANGUAGES)[:99])]
    special += [
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    special += [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    vocab |= {word: 50257 + i for i, word in enumerate(special)}
    return WhisperTokenizer(vocab=vocab, merges=merges, additional_special_tokens=special[1:])


def image_processor() -> Any:
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": 32, "width": 32})


def clip_processor() -> Any:
    from transformers import CLIPImageProcessor, CLIPProcessor

    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return CLIPProcessor(image_processor=images, tokenizer=clip_tokenizer())


def llava_processor() -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    tokenizer = qwen2_tokenizer()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=8, vision_feature_select_strategy="default"
    )


def wav2vec2_features() -> Any:
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor()


def whisper_processor() -> Any:
    from transformers import WhisperFeatureExtractor, WhisperProcessor

    return WhisperProcessor(feature_extractor=WhisperFeatureExtractor(), tokenizer=whisper_tokenizer())


@dataclass(frozen=True, slots=True)
class TinyProcessor:
    """One repository with a processor, the Auto class that loads it and the kind of input it is tried on."""

    auto: str  # the class of transformers, without "Auto"
    name: str
    make: Callable[[], Any]
    tried_on: str


PROCESSORS = (
    TinyProcessor("Tokenizer", "bert-tokenizer", bert, "text"),
    TinyProcessor("Tokenizer", "llama-tokenizer", llama_tokenizer, "text"),
    TinyProcessor("Tokenizer", "qwen2-tokenizer", qwen2_tokenizer, "text"),
    TinyProcessor("Tokenizer", "t5-tokenizer", t5_tokenizer, "text"),
    TinyProcessor("ImageProcessor", "vit-image-processor", image_processor, "image"),
    TinyProcessor("FeatureExtractor", "wav2vec2-feature-extractor", wav2vec2_features, "audio"),
    TinyProcessor("Processor", "clip-processor", clip_processor, "text_and_image"),
    TinyProcessor("Processor", "llava-processor", llava_processor, "text_and_image"),
    TinyProcessor("Processor", "whisper-processor", whisper_processor, "audio"),
)


def try_processor(processor: Any, tried_on: str) -> list[float]:
    """What the processor makes of a fixed text, picture or sound, reduced to sums."""
    import numpy
    from PIL import Image

    inputs: Mapping[str, Any] = {}
    if "text" in tried_on:
        image_token = getattr(processor, "image_token", None)
        inputs = {"text": f"{image_token} {SENTENCE}" if image_token else SENTENCE}
    if "image" in tried_on:
        pixels = (numpy.arange(48 * 40 * 3) % 256).astype(numpy.uint8).reshape(48, 40, 3)
        inputs = {**inputs, "images": Image.fromarray(pixels)}
    if tried_on == "audio":
        inputs = {"sampling_rate": 16000}
        answer = processor(numpy.sin(numpy.linspace(0, 500, 16000)), **inputs)
    else:
        answer = processor(**inputs)
    return [float(numpy.asarray(value, dtype=numpy.float64).sum()) for _, value in sorted(answer.items())]


def make_processors(out: Path) -> dict[str, list[float]]:
    expected = {}
    for tiny in PROCESSORS:
        processor = tiny.make()
        processor.save_pretrained(out / tiny.name)
        expected[tiny.name] = try_processor(processor, tiny.tried_on)
    return expected

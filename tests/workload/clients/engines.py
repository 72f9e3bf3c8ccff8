"""Runs the engines that read model files in their own ways: llama.cpp, CTranslate2, diffusers.

    python -m tests.workload.clients.engines llama_cpp|faster_whisper|diffusers

Each fetches its model from the Hub by its own code, loads it twice and prints what it makes of a fixed input.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def llama_cpp() -> dict[str, Any]:
    from llama_cpp import Llama

    model = Llama.from_pretrained("tiny/gguf", "*.gguf", n_ctx=64, n_threads=2, use_mmap=True, verbose=False)
    answer = model("hello hub", max_tokens=12, temperature=0.0)
    return {"text": answer["choices"][0]["text"], "tokens": answer["usage"]["total_tokens"]}


def faster_whisper() -> dict[str, Any]:
    import numpy
    from faster_whisper import WhisperModel

    model = WhisperModel("tiny/faster-whisper", device="cpu", compute_type="float32", cpu_threads=2)
    sound = numpy.sin(numpy.linspace(0, 500, 16000)).astype(numpy.float32)
    segments, info = model.transcribe(sound, language="en", beam_size=1, temperature=0.0, max_new_tokens=12)
    return {"language": info.language, "tokens": [segment.tokens for segment in segments]}


def diffusers() -> dict[str, Any]:
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained("tiny/stable-diffusion")
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        "hello hub", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images
    return {"shape": list(drawn.shape), "sum": round(float(drawn.sum()), 2)}


def main() -> None:
    run = {"llama_cpp": llama_cpp, "faster_whisper": faster_whisper, "diffusers": diffusers}[sys.argv[1]]
    downloaded, cached = run(), run()
    assert downloaded == cached, f"{downloaded} when downloaded, {cached} from the cache"
    print(json.dumps(cached))


if __name__ == "__main__":
    main()

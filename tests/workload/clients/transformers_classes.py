"""Loads every small model and processor with its Auto class, straight from the Hub, and runs each once.

    python -m tests.workload.clients.transformers_classes

Prints by repository name what was loaded, for comparison with what was made.
"""

from __future__ import annotations

import json

import transformers

from tests.support.model_inputs import run_once
from tests.support.model_processors import PROCESSORS, try_processor
from tests.support.models import MODELS, fingerprint


def main() -> None:
    models, processors, classes = {}, {}, set()
    for tiny in MODELS:
        auto = getattr(transformers, f"Auto{tiny.auto}")
        model = auto.from_pretrained(f"tiny/{tiny.name}").eval()
        models[tiny.name] = {
            "weights": fingerprint(model.state_dict().items()),
            "answer": run_once(model, tiny.inputs),
        }
        classes.add(auto.__name__)
    for other in PROCESSORS:
        auto = getattr(transformers, f"Auto{other.auto}")
        processors[other.name] = try_processor(auto.from_pretrained(f"tiny/{other.name}"), other.tried_on)
        classes.add(auto.__name__)
    config = transformers.AutoConfig.from_pretrained(f"tiny/{MODELS[0].name}")
    classes.add(transformers.AutoConfig.__name__)
    own = transformers.AutoModel.from_pretrained("tiny/doubling", trust_remote_code=True)
    print(
        json.dumps(
            {
                "models": models,
                "processors": processors,
                "classes": sorted(classes),
                "config": config.model_type,
                "own code": [type(own).__name__, float(own.scale.sum())],
            }
        )
    )


if __name__ == "__main__":
    main()

"""Embeds sentences with all-MiniLM-L6-v2 as its model card says (mean pooling, normalised).

    python -m tests.workload.clients.embed SENTENCE...

Prints one vector of 384 numbers for each, and the fingerprint of all weights: a vector uses few of them.
"""

from __future__ import annotations

import json
import sys

import torch
from transformers import AutoModel, AutoTokenizer

from tests.support.models import fingerprint


def main() -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModel.from_pretrained(name)
    inputs = tokenizer(sys.argv[1:], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        tokens = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    pooled = (tokens * mask).sum(1) / mask.sum(1)
    vectors = torch.nn.functional.normalize(pooled).tolist()
    print(json.dumps({"vectors": vectors, "weights": fingerprint(model.state_dict().items())}))


if __name__ == "__main__":
    main()

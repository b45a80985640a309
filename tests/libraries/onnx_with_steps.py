"""A file of ONNX with steps of its owner's before and after it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from serving_engine import PythonModel


class Model(PythonModel):
    """Counts the letters of a text, asks the network, and rounds its answer to steps of ten."""

    def load(self, directory: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(directory / "linear.onnx", options)

    def predict(self, rows: list[str]) -> Any:
        counts = np.array([[len(text), text.count("a")] for text in rows], dtype=np.float32)
        (found,) = self.session.run(None, {"counts": counts})
        return np.round(found[:, 0] / 10) * 10


def train(out: Path) -> None:
    import onnx

    weights = onnx.numpy_helper.from_array(np.array([[3.0], [50.0]], dtype=np.float32), "w")
    shapes = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])
        for name, width in (("counts", 2), ("value", 1))
    ]
    node = onnx.helper.make_node("MatMul", ["counts", "w"], ["value"])
    graph = onnx.helper.make_graph([node], "graph", shapes[:1], shapes[1:], [weights])
    opsets = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(model, out / "linear.onnx")
    texts = ["banana", "kiwi", "a", "pear", "pineapple and apple"]
    rows = [{"text": text} for text in texts]
    (out / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    expected = [round((3 * len(t) + 50 * t.count("a")) / 10) * 10.0 for t in texts]
    (out / "expected.json").write_text(json.dumps([rows, expected]))


FILES = ["linear.onnx"]

if __name__ == "__main__":
    train(Path(sys.argv[1]))

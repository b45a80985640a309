"""Asks a service as users of Triton's client do: sync and asyncio, JSON and raw, plain and packed.

    python with_triton.py HOST:PORT CASE.json

CASE: the model's name, its columns, some rows, and what `POST /predict` answers to them.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

DTYPES = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}
NAME, COLUMNS, ROWS, PREDICTIONS = "", [], [], []


def main(address: str) -> None:
    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")
    assert not client.is_model_ready(NAME, "2")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(NAME)
    assert client.get_model_config(NAME)["name"] == NAME
    for binary in (True, False):
        for version in ("", "1"):
            for packed in (None, "gzip", "deflate"):
                answer = client.infer(
                    NAME,
                    tensors(metadata, [binary]),
                    model_version=version,
                    request_id="42",
                    timeout=10_000_000,
                    request_compression_algorithm=packed,
                    response_compression_algorithm=packed,
                )
                assert answer.get_response()["id"] == "42"
                check(answer)
    check(client.infer(NAME, tensors(metadata, [True, False])))
    one = triton.InferRequestedOutput("probabilities", binary_data=False)
    two = triton.InferRequestedOutput("label", binary_data=True)
    answer = client.infer(NAME, tensors(metadata, [False]), outputs=[one, two])
    assert [o["name"] for o in answer.get_response()["outputs"]] == ["probabilities", "label"]
    check(answer)
    refuse(client, metadata)
    counted = client.get_inference_statistics(NAME)["model_stats"][0]
    assert counted["inference_stats"]["success"]["count"] >= 14
    assert counted["inference_stats"]["fail"]["count"] >= 4
    assert [one["name"] for one in client.get_inference_statistics()["model_stats"]] == [NAME]
    asyncio.run(at_once(address, metadata))


def tensors(metadata: dict, binary: list[bool]) -> list[triton.InferInput]:
    """The rows as tensors; `binary` says in turn which of them are raw."""
    found = []
    for number, described in enumerate(metadata["inputs"]):
        dtype = DTYPES[described["datatype"]]
        whole = len(described["shape"]) == 2
        values = ROWS if whole else [row[number] for row in ROWS]
        array = np.array(values, dtype=dtype)
        tensor = triton.InferInput(described["name"], list(array.shape), described["datatype"])
        tensor.set_data_from_numpy(array, binary_data=binary[number % len(binary)])
        found.append(tensor)
    return found


def check(answer: triton.InferResult) -> None:
    labels = answer.as_numpy("label").tolist()
    labels = [label.decode() if isinstance(label, bytes) else label for label in labels]
    assert labels == [prediction["label"] for prediction in PREDICTIONS], labels
    expected = [list(prediction["probabilities"].values()) for prediction in PREDICTIONS]
    assert np.allclose(answer.as_numpy("probabilities"), expected, rtol=1e-9)


def refuse(client: triton.InferenceServerClient, metadata: dict) -> None:
    good = tensors(metadata, [True])
    first = metadata["inputs"][0]

    def wrong(datatype: str, array: np.ndarray, binary: bool) -> list[triton.InferInput]:
        tensor = triton.InferInput(first["name"], list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        return [tensor, *good[1:]]

    shape = (len(ROWS), *first["shape"][1:])
    for binary in (True, False):
        fails(client, "404", "other", good)
        fails(client, "404", NAME, good, model_version="2")
        fails(client, "400", NAME, wrong("BOOL", np.ones(shape, dtype=np.bool_), binary))
        larger = np.ones((len(ROWS), 77), dtype=DTYPES[first["datatype"]])
        fails(client, "400", NAME, wrong(first["datatype"], larger, binary))
        other = [triton.InferRequestedOutput("other", binary_data=binary)]
        fails(client, "400", NAME, good, outputs=other)
    fails(client, "400", NAME, good, outputs=[triton.InferRequestedOutput("label", class_count=2)])


def fails(client: triton.InferenceServerClient, status: str, *args: object, **more: object) -> None:
    try:
        client.infer(*args, **more)
    except InferenceServerException as error:
        assert error.status() == status, error
        assert "exception occurred in the client" not in error.message(), error
    else:
        raise AssertionError(f"{status} was expected")


async def at_once(address: str, metadata: dict) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_model_ready(NAME)
        asked = [client.infer(NAME, tensors(metadata, [n % 2 == 0])) for n in range(40)]
        for answer in await asyncio.gather(*asked):
            check(answer)
        try:
            await client.infer("other", tensors(metadata, [True]))
        except InferenceServerException as error:
            assert error.status() == "404", error
        else:
            raise AssertionError("404 was expected")


if __name__ == "__main__":
    case = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    NAME, COLUMNS, ROWS, PREDICTIONS = (
        case[key] for key in ("name", "columns", "rows", "predictions")
    )
    main(sys.argv[1])

"""Asks a service as users of KServe's REST client do.

    python with_kserve.py HOST:PORT CASE.json

CASE: the model's name, its columns, some rows, and what `POST /predict` answers to them.
"""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

DTYPES = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}


async def main(address: str, case: dict) -> None:
    base, name, rows = f"http://{address}", case["name"], case["rows"]
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(base)
    assert await client.is_server_ready(base)
    assert await client.is_model_ready(base, name)
    described = httpx.get(f"{base}/v2/models/{name}").json()["inputs"]
    for binary in (True, False):
        inputs = []
        for number, tensor in enumerate(described):
            whole = len(tensor["shape"]) == 2
            values = rows if whole else [row[number] for row in rows]
            array = np.array(values, dtype=DTYPES[tensor["datatype"]])
            if tensor["datatype"] == "BYTES" and binary:
                array = np.array([text.encode() for text in values], dtype=np.object_)
            given = InferInput(tensor["name"], list(array.shape), tensor["datatype"])
            given.set_data_from_numpy(array, binary_data=binary)
            inputs.append(given)
        request = InferRequest(name, inputs, request_id="42")
        answer = await client.infer(base, request, model_name=name)
        assert answer.id == "42"
        outputs = {output.name: output for output in answer.outputs}
        found = outputs["probabilities"].as_numpy()
        expected = [list(one["probabilities"].values()) for one in case["predictions"]]
        assert np.allclose(found, expected, rtol=1e-9)
        assert list(outputs["label"].data) == [one["label"] for one in case["predictions"]]
    try:
        await client.infer(base, InferRequest("other", inputs), model_name="other")
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 404
        assert error.response.json()["error"]
    else:
        raise AssertionError("404 was expected")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))))

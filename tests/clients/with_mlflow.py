"""Asks a service as users of MLflow's scoring client do.

    python with_mlflow.py HOST:PORT CASE.json

CASE: the model's name, its columns, some rows, and what `POST /predict` answers to them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from mlflow.pyfunc.scoring_server.client import ScoringServerClient


def main(address: str, case: dict) -> None:
    host, port = address.split(":")
    base = f"http://{address}"
    client = ScoringServerClient(host, port)
    client.ping()
    client.wait_server_ready(timeout=10)
    assert client.get_version()
    columns, rows, expected = case["columns"], case["rows"], case["predictions"]
    frame = pd.DataFrame(rows, columns=columns)
    given = [frame, frame[columns[::-1]], frame.to_dict(orient="records")]
    if len(set(map(str, frame.dtypes))) == 1:
        given.append(np.array(rows))
    for data in given:
        found = client.invoke(data)
        assert found["predictions"] == expected, type(data)
    found = client.invoke(frame, params={}).get_predictions()
    assert found["label"].tolist() == [one["label"] for one in expected]
    # What the client cannot send: its dicts of arrays fail in itself (3.17), and it has no CSV.
    by_column = {"inputs": frame.to_dict(orient="list")}
    assert requests.post(f"{base}/invocations", json=by_column).json() == {"predictions": expected}
    csv = requests.post(
        f"{base}/invocations",
        data=frame[columns[::-1]].to_csv(index=False).encode(),
        headers={"Content-Type": "text/csv"},
    )
    assert csv.json() == {"predictions": expected}, csv.text
    if case["nullable"]:
        frame.loc[0, case["nullable"][0]] = np.nan
        assert len(client.invoke(frame)["predictions"]) == len(rows)
    try:
        client.invoke(frame.drop(columns=columns[0]))
    except Exception as error:
        assert "error code 400" in str(error), error
    else:
        raise AssertionError("400 was expected")


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))

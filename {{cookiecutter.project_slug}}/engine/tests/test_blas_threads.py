"""Threads: predictions of many threads equal those of one, and BLAS has one thread."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastapi.testclient import TestClient
from serving_engine.blas_threads import limit_threads
from serving_engine.runtimes.load import LoadedModel
from threadpoolctl import threadpool_info

THREADS = 8
CALLS = 500


def test_predictions_of_eight_threads_equal_the_sequential_ones(
    loaded: LoadedModel,
) -> None:
    columns = loaded.manifest.signature.columns
    rows = [[example.input[name] for name in columns] for example in loaded.manifest.examples]
    batches = [random.Random(n).choices(rows, k=1 + n % 5) for n in range(CALLS)]
    sequential = [loaded.predict(batch) for batch in batches]

    def agree_in_random_order(seed: int) -> bool:
        order = random.Random(seed).sample(range(CALLS), CALLS)
        return all(
            np.array_equal(loaded.predict(batches[n]).values, sequential[n].values)
            and _equal(loaded.predict(batches[n]).probabilities, sequential[n].probabilities)
            for n in order
        )

    with ThreadPoolExecutor(THREADS, initializer=limit_threads) as pool:
        assert all(pool.map(agree_in_random_order, range(THREADS)))


def _equal(one: object, other: object) -> bool:
    return (one is None and other is None) or np.array_equal(one, other)  # type: ignore[arg-type]


def test_concurrent_clients_get_the_predictions_of_their_own_rows(
    client: TestClient, loaded: LoadedModel
) -> None:
    examples = loaded.manifest.examples

    def is_right(number: int) -> bool:
        example = examples[number % len(examples)]
        response = client.post("/predict", json={"instances": [example.input]}).json()
        (prediction,) = response["predictions"]
        return bool(prediction["label"] == example.output["label"])

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(is_right, range(200)))


def test_blas_is_limited_to_one_thread(client: TestClient) -> None:
    assert client.get("/readyz").status_code == 200
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert blas
    assert all(pool["num_threads"] == 1 for pool in blas)

"""Prediction from many threads gives what it gives from one."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from fastapi.testclient import TestClient
from threadpoolctl import threadpool_info

from {{ cookiecutter.__package_name }}.artifact.load import LoadedModel
from {{ cookiecutter.__package_name }}.artifact.threads import limit_threads

THREADS = 8
CALLS = 500


def test_eight_threads_times_500_mixed_rows_agree_with_the_sequential_answers(
    loaded: LoadedModel,
) -> None:
    columns = loaded.manifest.signature.columns
    rows = [[example.input[name] for name in columns] for example in loaded.manifest.examples]
    batches = [random.Random(n).choices(rows, k=1 + n % 5) for n in range(CALLS)]
    sequential = [loaded.predict(batch) for batch in batches]

    def in_own_order(seed: int) -> bool:
        order = random.Random(seed).sample(range(CALLS), CALLS)
        return all(
            np.array_equal(loaded.predict(batches[n]).values, sequential[n].values)
            and _equal(loaded.predict(batches[n]).probabilities, sequential[n].probabilities)
            for n in order
        )

    with ThreadPoolExecutor(THREADS, initializer=limit_threads) as pool:
        assert all(pool.map(in_own_order, range(THREADS)))


def _equal(one: object, other: object) -> bool:
    return (one is None and other is None) or np.array_equal(one, other)  # type: ignore[arg-type]


def test_concurrent_clients_each_get_their_own_answers(
    client: TestClient, loaded: LoadedModel
) -> None:
    examples = loaded.manifest.examples

    def ask(n: int) -> bool:
        example = examples[n % len(examples)]
        answer = client.post("/predict", json={"instances": [example.input]}).json()
        alone = answer["predictions"][0]
        expected = example.output
        label = alone["label"] == expected["label"] if isinstance(alone, dict) else True
        return bool(label)

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(ask, range(200)))


def test_blas_and_openmp_are_held_to_one_thread(client: TestClient) -> None:
    assert client.get("/readyz").status_code == 200
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert blas
    assert all(pool["num_threads"] == 1 for pool in blas)

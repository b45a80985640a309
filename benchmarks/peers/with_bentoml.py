"""BentoML: one worker, adaptive batches of up to 64."""

import bentoml
import numpy as np
from scoring import load_scorer


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 1000},
    logging={"access": {"enabled": False}},
)
class Predictor:
    def __init__(self):
        self.score = load_scorer()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, instances: np.ndarray) -> np.ndarray:
        return self.score(instances)

"""BentoML: one worker, adaptive batches of up to 64."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 1000},
    logging={"access": {"enabled": False}},
)
class Predictor:
    def __init__(self):
        self.model = joblib.load(os.environ["MODEL_PATH"])

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, instances: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(instances)

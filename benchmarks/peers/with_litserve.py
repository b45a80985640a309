"""LitServe: one worker process, batches of up to 64 within 1 ms."""

import os

import joblib
import litserve
import numpy as np


class Predictor(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002
        self.model = joblib.load(os.environ["MODEL_PATH"])

    def decode_request(self, request):
        return np.asarray(request["instances"])

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, x):
        return self.model.predict_proba(x)

    def unbatch(self, output):
        return list(output[:, None, :])

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Predictor(max_batch_size=64, batch_timeout=0.001), accelerator="cpu", workers_per_device=1
    )
    server.run(
        port=int(os.environ["PORT"]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )

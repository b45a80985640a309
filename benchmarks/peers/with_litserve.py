"""LitServe: one worker process, batches of up to 64 within 1 ms."""

import os

import litserve
import numpy as np
from scoring import load_scorer


class Predictor(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002
        self.score = load_scorer()

    def decode_request(self, request):
        return np.asarray(request["instances"])

    def batch(self, inputs):
        return np.concatenate(inputs)

    def predict(self, x):
        return self.score(x)

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

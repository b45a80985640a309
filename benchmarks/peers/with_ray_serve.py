"""Ray Serve: one replica, which predicts batches of up to 64 within 1 ms, behind HAProxy."""

import argparse
import signal

import numpy as np
import ray
from ray import serve
from scoring import load_scorer
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=256)
class Predictor:
    def __init__(self):
        self.score = load_scorer()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def predict(self, blocks):
        scores = self.score(np.concatenate(blocks))
        ends = np.cumsum([len(block) for block in blocks])[:-1]
        return [part.tolist() for part in np.split(scores, ends)]

    async def __call__(self, request: Request):
        question = await request.json()
        return {"predictions": await self.predict(np.asarray(question["instances"]))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": given.port},
        logging_config={"enable_access_log": False},
    )
    serve.run(Predictor.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()

"""A service on a Ray cluster of this machine, with one replica: `on_ray.py PORT PACKAGE`."""

import signal
import sys

import ray
from ray import serve
from serving_engine.process.ray_serve import Arguments, application

if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])},
        logging_config={"enable_access_log": False},
    )
    serve.run(application(Arguments(package=sys.argv[2])))
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    ray.shutdown()

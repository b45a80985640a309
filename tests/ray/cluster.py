"""A Ray cluster of two nodes on this machine, for the tests that start this.

It prints a line when the cluster is there and after each command: `kill` ends the second node at
once. The cluster ends when standard input does.
"""

import json
import sys

from ray.cluster_utils import Cluster

CPUS = 8
"""What Ray believes that each node has: replicas find their place, whatever the machine is."""

FAST = {"health_check_period_ms": 1000, "health_check_failure_threshold": 4}
"""How the head notices that a node is gone: within seconds, not half a minute."""


def main(dashboard_port: int) -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": CPUS,
            "dashboard_port": dashboard_port,
            "include_dashboard": True,
            "_system_config": FAST,
        },
    )
    try:
        second = cluster.add_node(num_cpus=CPUS)
        cluster.wait_for_nodes()
        print(json.dumps({"address": cluster.address}), flush=True)
        for _ in sys.stdin:
            cluster.remove_node(second, allow_graceful=False)
            print(json.dumps({}), flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))

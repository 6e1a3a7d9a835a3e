# SPDX-License-Identifier: Apache-2.0
"""Ray Serve's no-op, for serve.sh: serve_ray.py PORT, until it is killed.

Prints "ready PORT" once it answers; its cluster ends with it. One replica, as ours; what else is set is the
environment's: serve.sh says what.
"""
import logging
import os
import signal
import sys
import time
import urllib.request

os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")

import ray
from ray import serve
from ray.serve.config import HTTPOptions


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.1})
class Noop:
    async def __call__(self, request):
        return "hello, world\n"


def main():
    port = int(sys.argv[1])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False,
             logging_level=logging.ERROR)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
    serve.run(Noop.bind(), route_prefix="/")
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).read()
            break
        except OSError:
            time.sleep(0.1)
    print("ready", port, flush=True)
    try:
        time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()
        ray.shutdown()


signal.signal(signal.SIGTERM, signal.default_int_handler)
signal.signal(signal.SIGINT, signal.default_int_handler)
main()

# SPDX-License-Identifier: Apache-2.0
"""Trials of a function that does nothing, with Ray Tune: tune_ray.py TRIALS"""
import os
import sys
import time

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
import ray
from ray import tune


def noop(config):
    tune.report({"loss": config["x"]})


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
trials = int(sys.argv[1])
began = time.monotonic()
tune.Tuner(
    tune.with_resources(noop, {"cpu": 0.1}),
    param_space={"x": tune.uniform(0, 1)},
    tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
    run_config=tune.RunConfig(verbose=0),
).fit()
print(f"{trials / (time.monotonic() - began):.1f}")

# SPDX-License-Identifier: Apache-2.0
"""What Ray does on this machine, for tests/bench/core.sh: the kinds of work that Ray's own
microbenchmark and single-node scalability suites measure, and efficiency against task
length. Prints one JSON object; what each name means is in WORKLOADS of core_table.py.

    RAY_PYTHON core_ray.py [--cpus N] [--seconds S] [--queued N] [--only NAME,...]
"""
import argparse
import json
import os
import sys
import time

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")

import numpy
import ray

SMALL = b"ok"
BATCH = 1000


@ray.remote
def noop(*args):
    return SMALL


@ray.remote
def count_args(*args):
    return len(args)


@ray.remote(max_retries=0)
def spin(ns):
    # Of the processor, not of the clock: waiting for a core is no work.
    end = time.thread_time_ns() + ns
    while time.thread_time_ns() < end:
        pass


@ray.remote(num_cpus=0)
class Server:
    def call(self, *args):
        return SMALL


@ray.remote(num_cpus=0)
class Client:
    """Another process that submits: tasks, or calls of the servers it is given."""

    def __init__(self, servers=()):
        self.servers = list(servers)

    def ready(self):
        return True

    def tasks(self, count):
        ray.get([noop.remote() for _ in range(count)])

    def calls(self, count):
        ray.get([self.servers[i % len(self.servers)].call.remote() for i in range(count)])


@ray.remote(num_cpus=0)
class Gate:
    def __init__(self):
        self.opened = False

    def open(self):
        self.opened = True

    def is_open(self):
        return self.opened


@ray.remote
def hold(gate):
    while not ray.get(gate.is_open.remote()):
        time.sleep(0.01)


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


class Bench:
    def __init__(self, cpus, seconds):
        self.cpus = cpus
        self.seconds = seconds
        self.results = {}

    def rate(self, name, fn, per_round, warm=1):
        """Rounds of fn until the time is over; the median of their rates."""
        for _ in range(warm):
            fn()
        rates, end = [], time.perf_counter() + self.seconds
        while time.perf_counter() < end or len(rates) < 3:
            start = time.perf_counter()
            fn()
            rates.append(per_round / (time.perf_counter() - start))
        self.keep(name, median(rates), per_round, len(rates))

    def seconds_of(self, name, fn, count, rounds=3):
        """The median time of fn, which does all of count things at once."""
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            fn()
            times.append(time.perf_counter() - start)
        self.keep(name, median(times), count, rounds)

    def keep(self, name, value, count, rounds):
        self.results[name] = {"value": value, "count": count, "rounds": rounds}
        print(f"ray {name}: {value:.6g} ({rounds} rounds of {count})", file=sys.stderr)


def tasks_sync(b):
    b.rate("tasks_sync", lambda: [ray.get(noop.remote()) for _ in range(100)], 100)


def tasks_async(b):
    b.rate("tasks_async", lambda: ray.get([noop.remote() for _ in range(BATCH)]), BATCH)


def tasks_multi(b):
    clients = [Client.remote() for _ in range(2)]
    ray.get([c.ready.remote() for c in clients])
    b.rate("tasks_multi", lambda: ray.get([c.tasks.remote(BATCH) for c in clients]), 2 * BATCH)


def actor_sync(b):
    server = Server.remote()
    b.rate("actor_sync", lambda: [ray.get(server.call.remote()) for _ in range(200)], 200)


def actor_async(b):
    server = Server.remote()
    b.rate("actor_async", lambda: ray.get([server.call.remote() for _ in range(BATCH)]), BATCH)


def actor_1n(b):
    servers = [Server.remote() for _ in range(2)]
    client = Client.remote(servers)
    b.rate("actor_1n", lambda: ray.get(client.calls.remote(2 * BATCH)), 2 * BATCH)


def actor_nn(b):
    servers = [Server.remote() for _ in range(2)]
    clients = [Client.remote(servers) for _ in range(2)]
    b.rate("actor_nn", lambda: ray.get([c.calls.remote(2 * BATCH) for c in clients]), 4 * BATCH)


def put_small(b):
    b.rate("put_small", lambda: [ray.put(SMALL) for _ in range(BATCH)], BATCH)


def get_small(b):
    ref = ray.put(SMALL)
    b.rate("get_small", lambda: [ray.get(ref) for _ in range(BATCH)], BATCH)


def put_gib(b):
    block = numpy.ones(1 << 27, dtype=numpy.int64)
    b.rate("put_gib", lambda: ray.put(block), 1, warm=6)  # all of the store's pages
    ref = ray.put(block)
    ray.get(ref)
    b.rate("get_gib_again", lambda: [ray.get(ref) for _ in range(100)], 100)


def wait_1k(b):
    def one_by_one():
        left = [noop.remote() for _ in range(1000)]
        while left:
            _, left = ray.wait(left)

    b.seconds_of("wait_1k", one_by_one, 1000, 5)


def args_10k(b):
    refs = [ray.put(0) for _ in range(10000)]
    ray.get(count_args.remote(*refs))
    b.seconds_of("args_10k", lambda: ray.get(count_args.remote(*refs)), 10000)


def returns_3k(b):
    many = ray.remote(num_returns=3000)(lambda: list(range(3000)))
    b.seconds_of("returns_3k", lambda: ray.get(many.remote()), 3000)


def gets_10k(b):
    refs = [ray.put(numpy.zeros(1)) for _ in range(10000)]
    ray.get(refs[0])
    b.seconds_of("gets_10k", lambda: ray.get(refs), 10000, 1)


def queued(b, count):
    """All are queued behind tasks that hold every core; then these let go. The time is
    from the first submission to the last result."""
    gate = Gate.remote()
    holders = [hold.remote(gate) for _ in range(b.cpus)]
    start = time.perf_counter()
    refs = [noop.remote() for _ in range(count)]
    submitted = time.perf_counter()
    ray.get(gate.open.remote())
    ray.get(refs)
    end = time.perf_counter()
    ray.get(holders)
    b.keep("queued_submit", count / (submitted - start), count, 1)
    b.keep("queued_drain", count / (end - submitted), count, 1)
    b.keep("queued", count / (end - start), count, 1)


def metg(b, limit):
    """Efficiency: the work done over what the cores could do in that time."""
    points = []
    for us in (10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000):
        count = max(2 * b.cpus, min(limit, int(b.seconds * b.cpus * 1e6 / us)))
        ray.get([spin.remote(us * 1000) for _ in range(2 * b.cpus)])
        start = time.perf_counter()
        ray.get([spin.remote(us * 1000) for _ in range(count)])
        wall = time.perf_counter() - start
        points.append({"us": us, "count": count,
                       "efficiency": count * us / 1e6 / (wall * b.cpus)})
        print(f"ray metg {us} us: {points[-1]['efficiency']:.4f} of {count}", file=sys.stderr)
    return points


WORKLOADS = (tasks_sync, tasks_async, tasks_multi, actor_sync, actor_async, actor_1n, actor_nn,
             put_small, get_small, put_gib, wait_1k, args_10k, returns_3k, gets_10k)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=3, help="for each rate")
    parser.add_argument("--queued", type=int, default=100000)
    args = parser.parse_args()
    only = set(filter(None, args.only.split(",")))
    ray.init(num_cpus=args.cpus, object_store_memory=4 << 30, include_dashboard=False,
             log_to_driver=False, logging_level="ERROR", _node_ip_address="127.0.0.1")
    bench = Bench(args.cpus, args.seconds)
    curve = []
    try:
        ray.get([noop.remote() for _ in range(BATCH)])
        for workload in WORKLOADS:
            if only and workload.__name__ not in only:
                continue
            workload(bench)
        if not only or "queued" in only:
            queued(bench, args.queued)
        if not only or "metg" in only:
            curve = metg(bench, 3000)
    finally:
        ray.shutdown()
    json.dump({"system": "Ray " + ray.__version__,
               "language": "Python %d.%d" % sys.version_info[:2],
               "cpus": args.cpus, "results": bench.results, "metg": curve},
              sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

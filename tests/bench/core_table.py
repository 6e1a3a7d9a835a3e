# SPDX-License-Identifier: Apache-2.0
"""The table of tests/bench/core.sh: python3 core_table.py RESULT_DIR"""
import json
import os
import sys

# What a row shows: text, file and name of our figure, name of Ray's, how it is written,
# and the bar: a number, or a factor of Ray's or of another of our figures.
# Rates are calls a second, "us" the time of one call from such a rate.
ROWS = (
    ("no-op tasks, submit and get one at a time, blocking", "blocking", "tasks_sync", "tasks_sync", "us", "<= 90 us"),
    ("the same, spinning", "spinning", "tasks_sync", "tasks_sync", "us", "<= 5 us"),
    ("no-op tasks in batches of 1,000", "raywf", "tasks_async", "tasks_async", "rate", ""),
    ("no-op tasks in batches of 100,000", "raywf", "tasks_async_100k", "tasks_async", "rate", ">= 1000000"),
    ("no-op tasks, 2 clients, 1,000 each", "raywf", "tasks_multi", "tasks_multi", "rate", ""),
    ("no-op tasks, 2 clients, 50,000 each", "raywf", "tasks_multi_100k", "tasks_multi", "rate", ""),
    ("actor calls 1:1, one at a time, blocking", "blocking", "actor_sync", "actor_sync", "rate", ">= 10000"),
    ("the same, spinning", "spinning", "actor_sync", "actor_sync", "rate", ""),
    ("actor calls 1:1 in batches of 1,000", "raywf", "actor_async", "actor_async", "rate", ""),
    ("actor calls 1:1 in batches of 100,000", "raywf", "actor_async_100k", "actor_async", "rate", ">= 500000"),
    ("actor calls 1:n (n = 2), 2,000", "raywf", "actor_1n", "actor_1n", "rate", ""),
    ("actor calls n:n (n = 2), 2,000 each", "raywf", "actor_nn", "actor_nn", "rate", ""),
    ("actor calls n:n (n = 2), 50,000 each", "raywf", "actor_nn_100k", "actor_nn", "rate", ">= 1000000"),
    ("put of 2 bytes", "raywf", "put_small", "put_small", "rate", ">= 500000"),
    ("get of 2 bytes", "raywf", "get_small", "get_small", "rate", ""),
    ("put of 1 GiB, GiB/s", "raywf", "put_gib", "put_gib", "number", ">= 0.8 memcpy_gib"),
    ("get of 1 GiB after the first", "raywf", "get_gib_again", "get_gib_again", "us", "<= 1 us"),
    ("wait on 1,000 references one by one", "raywf", "wait_1k", "wait_1k", "s", ">= 50 Ray"),
    ("10,000 references as arguments", "raywf", "args_10k", "args_10k", "s", ">= 50 Ray"),
    ("3,000 values returned", "raywf", "returns_3k", "returns_3k", "s", ">= 50 Ray"),
    ("get of 10,000 objects", "raywf", "gets_10k", "gets_10k", "s", ""),
    ("queued tasks, submitted and drained", "raywf", "queued", "queued", "rate", ""),
    ("1,000,000 queued tasks drained", "raywf", "queued_seconds", None, "s", "<= 3 s"),
    ("memory of a queued task, bytes", "raywf", "queued_bytes", None, "number", "<= 200"),
)
FLOOR = (
    ("copy of 1 GiB between warm pages, GiB/s", "memcpy_gib"),
    ("64-byte frames through a ring, batched, /s", "ring_batched"),
    ("frame there and back, spinning, us", "ring_spinning_us"),
    ("frame there and back, both asleep in between, us", "ring_blocking_us"),
)


def load(folder, name):
    path = os.path.join(folder, name + ".json")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def value_of(found, name):
    entry = found.get("results", {}).get(name)
    return None if entry is None else entry["value"]


def show(value, kind):
    if value is None:
        return ""
    if kind == "us":
        us = 1e6 / value
        return f"{us:,.2f} us" if us < 10 else f"{us:,.1f} us"
    if kind == "s":
        return f"{value * 1e3:,.3f} ms" if value < 1 else f"{value:,.2f} s"
    if kind == "rate":
        return f"{value:,.0f} /s"
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def ratio_of(ours, rays, kind):
    """How many times better than Ray; times are better when smaller."""
    if ours is None or rays is None:
        return None
    return rays / ours if kind == "s" else ours / rays


def met(bar, ours, kind, ratio, results):
    """True, False, or None where it cannot be said."""
    if not bar or ours is None:
        return None
    words = bar.split()
    limit = float(words[1])
    if words[-1] == "Ray":
        return None if ratio is None else ratio >= limit
    if words[-1] == "memcpy_gib":
        around = [value_of(results, "memcpy_gib"), value_of(results, "memcpy_gib_after")]
        return ours >= limit * sum(around) / 2
    value = 1e6 / ours if kind == "us" else ours
    return value <= limit if words[0] == "<=" else value >= limit


def bar_text(bar):
    words = bar.split()
    if not bar:
        return ""
    number = f"{float(words[1]):,g}" if float(words[1]) < 1e6 else f"{int(words[1]):,}"
    unit = {"Ray": "times Ray", "memcpy_gib": "of memcpy"}.get(words[-1], "")
    if len(words) > 2 and not unit:
        unit = words[2]
    return f"{words[0]} {number} {unit}".strip()


def half(curve):
    """Task length at which half of the cores' time is work, us; between the points on
    either side, on the logarithm of length."""
    import math
    for a, b in zip(curve, curve[1:]):
        if a["efficiency"] < 0.5 <= b["efficiency"]:
            part = (0.5 - a["efficiency"]) / (b["efficiency"] - a["efficiency"])
            return math.exp(math.log(a["us"]) * (1 - part) + math.log(b["us"]) * part)
    if curve and curve[0]["efficiency"] >= 0.5:
        return curve[0]["us"]
    return None


def main():
    folder = sys.argv[1]
    found = {name: load(folder, name) for name in ("blocking", "spinning", "raywf", "ray", "floor")}
    ray = found["ray"]
    print("| what | raywf | Ray | times | bar | |")
    print("|---|---|---|---|---|---|")
    counts = []
    for text, file, name, rays_name, kind, bar in ROWS:
        ours = value_of(found[file], name)
        rays = value_of(ray, rays_name) if rays_name else None
        ratio = ratio_of(ours, rays, kind)
        verdict = met(bar, ours, kind, ratio, found["raywf"])
        mark = {True: "met", False: "**missed**", None: ""}[verdict]
        times = "" if ratio is None else f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
        print(f"| {text} | {show(ours, kind)} | {show(rays, kind)} | {times} | {bar_text(bar)} | {mark} |")
        if rays is not None:
            count = found[file].get("results", {}).get(name, {}).get("count")
            rays_count = ray["results"][rays_name]["count"]
            if count is not None and count != rays_count:
                counts.append(f"{text}: {count:,} here, {rays_count:,} with Ray")
    before, after = (value_of(found["raywf"], "history_" + x) for x in ("before", "after"))
    if before and after:
        change = (after / before - 1) * 100
        print(f"| rate with 1,000,000 finished tasks behind it | {show(after, 'rate')} | | | "
              f"within 10 % of {show(before, 'rate')} | {'met' if change >= -10 else '**missed**'} ({change:+.0f} %) |")
    ours, rays = half(found["raywf"].get("metg", [])), half(ray.get("metg", []))
    print(f"| METG: task length at which half the cores' time is work | "
          f"{f'{ours:,.1f} us' if ours else 'not reached'} | "
          f"{(f'{rays:,.0f} us' if rays else 'not reached') if ray else ''} | "
          f"{f'{rays / ours:,.0f}' if ours and rays else ''} | | |")
    print("\nThe machine, at best:", end=" ")
    print("; ".join(f"{text}: {found['floor'].get(name, 0):,.6g}" for text, name in FLOOR), end=".\n")
    if value_of(found["raywf"], "put_gib"):
        print(f"memcpy of 1 GiB just before and after the puts: {value_of(found['raywf'], 'memcpy_gib'):.2f} "
              f"and {value_of(found['raywf'], 'memcpy_gib_after'):.2f} GiB/s.")
    if ray:
        print(f"{found['raywf'].get('system', 'raywf')} with tasks in C, {ray['system']} with tasks in "
              f"{ray['language']}, {ray['cpus']} cores for each. Times: how many times better than Ray.")
    if counts:
        print("Where the counts differ: " + "; ".join(counts) + ".")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# The peer of tune_quality.c: Optuna on the same functions, budgets and numbers of seeds.
#
#   tune_quality.py optuna SEEDS TRIALS [FUNCTION...]   lines "optuna FUNCTION SEED BEST"
#   tune_quality.py table FILE...                       quartiles side by side, and a verdict
#
# Optuna runs as its users get it: TPESampler(seed=…), all other options at their defaults;
# in the conditional space also with group=True ("optuna-group"), which its manual advises there.
import math
import statistics
import sys


def branin(x):
    a, b, c = 1, 5.1 / (4 * math.pi**2), 5 / math.pi
    return (a * (x[1] - b * x[0] ** 2 + c * x[0] - 6) ** 2
            + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10)


H_ALPHA = [1.0, 1.2, 3.0, 3.2]
H_A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
       [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
H_P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
       [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]


def hartmann6(x):
    return -sum(H_ALPHA[i] * math.exp(-sum(H_A[i][j] * (x[j] - H_P[i][j] * 1e-4) ** 2
                                           for j in range(6))) for i in range(4))


def rosenbrock(x):
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def ackley(x):
    n = len(x)
    return (-20 * math.exp(-0.2 * math.sqrt(sum(v * v for v in x) / n))
            - math.exp(sum(math.cos(2 * math.pi * v) for v in x) / n) + 20 + math.e)


def levy(x):
    w = [1 + (v - 1) / 4 for v in x]
    s = math.sin(math.pi * w[0]) ** 2
    for v in w[:-1]:
        s += (v - 1) ** 2 * (1 + 10 * math.sin(math.pi * v + 1) ** 2)
    return s + (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)


BOXES = {
    "branin": (branin, [(-5, 10), (0, 15)]),
    "hartmann6": (hartmann6, [(0, 1)] * 6),
    "rosenbrock5": (rosenbrock, [(-2.048, 2.048)] * 5),
    "ackley10": (ackley, [(-32.768, 32.768)] * 10),
    "levy10": (levy, [(-10, 10)] * 10),
}
FUNCTIONS = list(BOXES) + ["conditional"]


# The same as the space and the objective of that name in tune_quality.c.
def conditional(trial):
    x = math.log10(trial.suggest_float("learning_rate", 1e-5, 1, log=True))
    family = trial.suggest_categorical("family", ["linear", "mlp", "tree"])
    if family == "linear":
        l2 = math.log10(trial.suggest_float("l2", 1e-6, 1, log=True))
        return 0.5 + 0.3 * (x + 1) ** 2 + 0.05 * (l2 + 3) ** 2
    if family == "tree":
        depth = trial.suggest_int("depth", 1, 12)
        return 0.4 + 0.02 * (x + 2) ** 2 + 0.01 * (depth - 7) ** 2
    layers = trial.suggest_int("layers", 1, 6)
    width = math.log2(trial.suggest_int("width", 8, 1024, log=True))
    f = 0.2 + 0.3 * (x + 3) ** 2 + 0.1 * abs(layers - 3) + 0.03 * (width - 7) ** 2
    if trial.suggest_categorical("optimizer", ["adam", "sgd"]) == "adam":
        return f + 0.1
    return f + 2 * (trial.suggest_float("momentum", 0, 1) - 0.9) ** 2


def objective(name):
    if name == "conditional":
        return conditional
    f, box = BOXES[name]
    return lambda t: f([t.suggest_float("x%02d" % i, lo, hi) for i, (lo, hi) in enumerate(box)])


def run_optuna(seeds, trials, names):
    import warnings
    import optuna
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in names:
        for label, options in [("optuna", {})] + (
                [("optuna-group", {"group": True})] if name == "conditional" else []):
            for seed in range(seeds):
                study = optuna.create_study(
                    sampler=optuna.samplers.TPESampler(seed=seed, **options))
                study.optimize(objective(name), n_trials=trials)
                print(label, name, seed, repr(study.best_value), flush=True)


def table(files):
    best = {}
    for f in files:
        for line in open(f):
            who, name, _, value = line.split()
            best.setdefault((name, who), []).append(float(value))
    print("| function | who | seeds | q25 | median | q75 |\n|---|---|---|---|---|---|")
    worse = []
    for name in FUNCTIONS:
        medians = {}
        for (n, who), values in sorted(best.items()):
            if n == name and len(values) > 1:
                q = statistics.quantiles(values, n=4, method="inclusive")
                medians[who] = q[1]
                print("| %s | %s | %d | %.4g | %.4g | %.4g |" % (name, who, len(values), *q))
        if "optuna" in medians and "raywf" in medians and medians["raywf"] > medians["optuna"]:
            worse.append(name)
    print("worse than Optuna in median: " + (", ".join(worse) or "none"))
    return 1 if worse else 0


if __name__ == "__main__":
    if len(sys.argv) >= 4 and sys.argv[1] == "optuna":
        run_optuna(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] or FUNCTIONS)
    elif len(sys.argv) >= 3 and sys.argv[1] == "table":
        sys.exit(table(sys.argv[2:]))
    else:
        sys.exit("usage: tune_quality.py optuna SEEDS TRIALS [FUNCTION...] | table FILE...")

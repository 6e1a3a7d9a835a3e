# SPDX-License-Identifier: Apache-2.0
"""The step of tests/bench/kernels.c in PyTorch: samples per second, best of several rounds,
for the optimizer's implementations it has."""
import sys
import time

import torch

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
torch.set_num_threads(threads)
torch.manual_seed(1)


def rate(name, **options):
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    x = torch.randn(64, 784)
    y = torch.randint(0, 10, (64,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, **options)

    def step():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    best = 1e9
    for _ in range(300):
        start = time.perf_counter()
        for _ in range(5):
            step()
        best = min(best, (time.perf_counter() - start) / 5)
    print(f"PyTorch {torch.__version__}, {threads} threads, AdamW {name}: "
          f"{best * 1e6:.1f} us a step; {64 / best:.0f} samples/s")


rate("as it comes")
rate("fused", fused=True)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""train_torch.py DATA BATCH STEPS: samples per second of PyTorch training the MLP of train.sh on
the same rows, one thread, eager: the loop that a user would write with its data in memory."""
import sys
import time

import numpy
import torch

data, batch, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
x = torch.from_numpy(numpy.fromfile(data + "/train.x", dtype=numpy.float32).reshape(-1, 784))
y = torch.from_numpy(numpy.fromfile(data + "/train.y", dtype=numpy.int32).astype(numpy.int64))
model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)


def run(count):
    order, at = torch.randperm(len(x)), 0
    for _ in range(count):
        if at + batch > len(x):
            order, at = torch.randperm(len(x)), 0
        rows = order[at : at + batch]
        at += batch
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


run(100)
start = time.perf_counter()
run(steps)
print("%.0f" % (batch * steps / (time.perf_counter() - start)))

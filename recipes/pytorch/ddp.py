# SPDX-License-Identifier: Apache-2.0
"""Trains a small network on a CSV with DistributedDataParallel: as it would run beneath torchrun,
with two things more: it reports to RAYWF_REPORT, and goes on from RAYWF_RESUME_FROM."""
import csv
import json
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["setosa", "versicolor", "virginica"]
    features = [[float(v) for k, v in row.items() if k != "species"] for row in rows]
    return torch.tensor(features), torch.tensor([names.index(r["species"]) for r in rows])


def report(**line):
    if dist.get_rank() == 0 and "RAYWF_REPORT" in os.environ:
        os.write(int(os.environ["RAYWF_REPORT"]), (json.dumps(line) + "\n").encode())


def main(train_path, epochs):
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    x, y = read(train_path)
    val_x, val_y = read(os.environ["RAYWF_DATASET_VAL"])
    mean, std = x.mean(0), x.std(0)
    x, val_x = (x - mean) / std, (val_x - mean) / std
    net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    ddp = DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(ddp.parameters(), lr=0.02)
    first = 0
    if os.environ.get("RAYWF_RESUME_FROM"):
        saved = torch.load(os.environ["RAYWF_RESUME_FROM"])
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1
    print(f"rank {rank} of {size} begins at epoch {first}", flush=True)
    for epoch in range(first, epochs):
        loss = torch.nn.functional.cross_entropy(ddp(x[rank::size]), y[rank::size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            accuracy = (net(val_x).argmax(1) == val_y).float().mean().item()
        line = {"step": epoch, "loss": loss.item(), "val_accuracy": accuracy,
                "progress": (epoch + 1) / epochs}
        if rank == 0 and epoch % 10 == 9:
            path = os.path.join(os.environ["RAYWF_CHECKPOINT_DIR"], f"epoch-{epoch}.pt")
            torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(),
                        "epoch": epoch}, path + ".part")
            os.replace(path + ".part", path)
            line["checkpoint"] = path
        report(**line)
        crash = os.environ.get("CRASH_AT_EPOCH")  # for tests: the second worker dies once
        if crash == str(epoch) and rank == 1 and os.environ["RAYWF_ATTEMPT"] == "1":
            os.kill(os.getpid(), 9)
    if rank == 0:
        torch.save(net.state_dict(), "model.pt")
    dist.destroy_process_group()


main(sys.argv[1], int(sys.argv[2]))

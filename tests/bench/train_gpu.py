# SPDX-License-Identifier: Apache-2.0
"""The training loop itself on GPUs: GPT-2 124M in bf16, through raywf-rank.

    python3 train_gpu.py RANK FOLDER [GPUS [MICRO [GLOBAL [STEPS]]]]

RANK: raywf-rank; FOLDER is made. Tokens are drawn as skewed as text's, so what is measured is
reading, the step, and reports; losses mean nothing. RAYWF_CUDA names raywf-cuda.so.
"""
import array
import json
import math
import os
import random
import subprocess
import sys
import time

RANK, FOLDER = sys.argv[1:3]
GPUS, MICRO, GLOBAL, STEPS = (
    int(v) for v in sys.argv[3:7] + ["1", "64", "64", "40"][len(sys.argv[3:7]) :]
)
LENGTH, VOCAB = 1024, 50257


def tokens(path, count):
    rng, scale = random.Random(1), math.log(VOCAB)
    block = array.array("H", (int(math.exp(rng.random() * scale)) - 1 for _ in range(100_000)))
    with open(path, "wb") as out:
        for _ in range(count // len(block)):
            block = block[777:] + block[:777]
            block.tofile(out)
    return count // len(block) * len(block)


def main():
    folder = os.path.abspath(FOLDER)
    data = os.path.join(folder, "data")
    os.makedirs(data)
    counts = {
        split: {"tokens": tokens(os.path.join(data, split + ".ids"), count)}
        for split, count in (("train", 4_000_000), ("val", 200_000))
    }
    with open(os.path.join(data, "data.json"), "w") as out:
        json.dump(
            {"v": 1, "kind": "tokens", "vocab": VOCAB, "width": 2, "splits": counts}, out
        )
    job = {
        "v": 1,
        "address": "train.gpt2",
        "config": {
            "model_type": "gpt2",
            "n_layer": 12,
            "n_embd": 768,
            "n_head": 12,
            "n_positions": LENGTH,
            "vocab_size": VOCAB,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
        "device": "cuda",
        "threads": 1,
        "precision": "bf16",
        "shard": os.environ.get("SHARD", "none"),
        "seed": 1,
        "global_batch_size": GLOBAL,
        "micro_batch_size": MICRO,
        "sequence_length": LENGTH,
        "clip": 1.0,
        "steps": STEPS,
        "steps_per_epoch": 4_000_000 // (GLOBAL * LENGTH),
        "log_every": 10,
        "optimizer": {
            "type": "adamw",
            "learning_rate": 6e-4,
            "weight_decay": 0.1,
            "beta1": 0.9,
            "beta2": 0.95,
            "epsilon": 1e-8,
        },
        "schedule": {"type": "cosine", "warmup_steps": 10, "final": 0.1},
        "evaluate": {"every": 0, "batches": 1},
        "checkpoint": {
            "every": 0,
            "metric": "val_loss",
            "mode": "min",
            "keep_best": 1,
            "keep_latest": 1,
        },
        "data": data,
    }
    for name in ("work", "checkpoints", "result", "heartbeat"):
        job[name] = os.path.join(folder, name)
        os.makedirs(job[name], exist_ok=True)
    path = os.path.join(folder, "job.json")
    with open(path, "w") as out:
        json.dump(job, out)
    command = [RANK, "train", path]
    if GPUS > 1:
        command = ["mpirun", "-n", str(GPUS), "--bind-to", "none"] + command
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    with open(os.path.join(job["work"], "metrics.jsonl")) as lines:
        for line in lines:
            row = json.loads(line)
            keys = ("step", "loss", "tokens_per_second", "mfu", "data_wait", "val_loss")
            print({k: row[k] for k in keys if k in row})
    print(f"{GPUS} GPUs, micro {MICRO}, global {GLOBAL}: {time.time() - start:.1f} s in all")


main()

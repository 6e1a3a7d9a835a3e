#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the losses that check_loop compares with: the same model, weights and data in
PyTorch. The weights are drawn as params_load.c draws them, the rows as train_rig.c makes
them; each step takes all rows, so their order does not matter."""
import torch

MASK = (1 << 64) - 1


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def uniform_rig(n):
    return (mix((n + 1) * 0x9E3779B97F4A7C15 & MASK) >> 11) * 2.0**-52 - 1


def draw(name, seed, count, std):
    h = 0xCBF29CE484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001B3 & MASK
    key = mix((h + mix((seed + 0x9E3779B97F4A7C15) & MASK)) & MASK)
    u = [((mix((key + (i + 1) * 0x9E3779B97F4A7C15) & MASK) >> 11) + 0.5) * 2.0**-53 for i in range(count)]
    return torch.tensor([(2 * v - 1) * std for v in u], dtype=torch.float64).float()


def linear(name, ins, outs):
    layer = torch.nn.Linear(ins, outs)
    std = float(torch.tensor(1 / ins**0.5, dtype=torch.float32))
    with torch.no_grad():
        layer.weight.copy_(draw(name + ".weight", 1, ins * outs, std).reshape(outs, ins))
        layer.bias.copy_(draw(name + ".bias", 1, outs, std))
    return layer


rows = [[uniform_rig(1000 + i * 8 + k) for k in range(8)] for i in range(64)]
sums = [[sum(v * uniform_rig(c * 8 + k) for k, v in enumerate(x)) for c in range(3)] for x in rows]
x = torch.tensor(rows, dtype=torch.float64).float()
y = torch.tensor([s.index(max(s)) for s in sums])
layers = [linear("layers.0", 8, 16), linear("layers.1", 16, 3)]
model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
decayed = [layer.weight for layer in layers]
plain = [layer.bias for layer in layers]
groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.999), eps=1e-8)
for step in range(12):
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.2)
    optimizer.step()
    print("    { %.7f, %.7f }," % (loss.item(), norm.item()))

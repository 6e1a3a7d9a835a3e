# SPDX-License-Identifier: Apache-2.0
"""GPT-2 124M in PyTorch, the peer of gpt2_step.c: same shapes, bf16 autocast, fused AdamW,
gradient clipping, scaled_dot_product_attention; eager, then torch.compile.

    python3 gpt2_torch.py [BATCH [LENGTH [STEPS [compile|eager|both]]]]
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

BATCH, LENGTH, STEPS = (int(v) for v in (sys.argv[1:4] + ["64", "1024", "20"][len(sys.argv[1:4]):]))
WHICH = sys.argv[4] if len(sys.argv) > 4 else "both"
LAYERS, HEADS, WIDTH, VOCAB = 12, 12, 768, 50304


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (
            part.view(b, t, HEADS, -1).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(WIDTH, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(y.transpose(1, 2).reshape(b, t, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(1024, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids, targets):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, VOCAB), targets.reshape(-1))


def measure(name, compiled):
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = GPT2().cuda()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    run = torch.compile(model) if compiled else model
    ids = torch.randint(0, 50257, (BATCH, LENGTH + 1), device="cuda")

    def step():
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = run(ids[:, :-1], ids[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    for _ in range(4):
        step()
    torch.cuda.synchronize()
    start = time.time()
    for _ in range(STEPS):
        loss = step()
    torch.cuda.synchronize()
    took = (time.time() - start) / STEPS
    print(
        f"torch {torch.__version__} {name} {torch.cuda.get_device_name()}: batch {BATCH}, length "
        f"{LENGTH}: {took * 1e3:.2f} ms a step, {BATCH * LENGTH / took:.0f} tokens/s, "
        f"loss {loss.item():.4f}",
        flush=True,
    )
    del model, optimizer, run
    torch.cuda.empty_cache()


if WHICH in ("eager", "both"):
    measure("eager", False)
if WHICH in ("compile", "both"):
    measure("compiled", True)

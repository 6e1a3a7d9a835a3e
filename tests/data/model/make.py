#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Makes the folders beside it: small random GPT-2 and Qwen3 models as transformers saves them
# (config.json, model.safetensors), and golden.json with a batch, its logits, its loss, and of
# each parameter's gradient two numbers: its norm, and its product with cos(0.7 i + 1).
# Needs torch and transformers (made with 2.13 and 5.19): make.py [NAME...]
import json
import os
import sys

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
GPT2 = dict(vocab_size=61, n_positions=16, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None)
QWEN3 = dict(vocab_size=53, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=4,
             max_position_embeddings=32, bos_token_id=None, eos_token_id=None)
MODELS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(**GPT2)),
    "gpt2-inner": (GPT2LMHeadModel, GPT2Config(**{**GPT2, "n_inner": 40, "n_head": 4})),
    "qwen3-tied": (Qwen3ForCausalLM, Qwen3Config(
        **QWEN3, tie_word_embeddings=True,
        rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"})),
    "qwen3-untied": (Qwen3ForCausalLM, Qwen3Config(
        **QWEN3, tie_word_embeddings=False,
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"})),
    "qwen3-wide": (Qwen3ForCausalLM, Qwen3Config(
        **{**QWEN3, "hidden_size": 20, "head_dim": 6, "num_attention_heads": 6},
        tie_word_embeddings=True,
        rope_parameters={"rope_theta": 5000000.0, "rope_type": "default"})),
}
ROWS, LENGTH = 2, 9


def randomise(model):
    """Everything is random, also what is initially one or zero, and large enough to matter."""
    for name, p in model.named_parameters():
        with torch.no_grad():
            if p.dim() == 1 and "weight" in name:
                p.copy_(1 + 0.3 * torch.randn(p.shape))
            else:
                p.copy_(0.25 * torch.randn(p.shape))


def measures(g):
    flat = g.double().flatten()
    wave = torch.cos(0.7 * torch.arange(flat.numel(), dtype=torch.float64) + 1)
    return [float(flat.norm()), float(flat @ wave)]


def make(name, number):
    kind, config = MODELS[name]
    torch.manual_seed(number)
    config._attn_implementation = "eager"
    model = kind(config).float().train()
    randomise(model)
    vocab = config.vocab_size
    ids = torch.randint(0, vocab, (ROWS, LENGTH))
    targets = torch.randint(0, vocab, (ROWS, LENGTH))
    targets[0, 3] = targets[1, 0] = -1
    logits = model(ids).logits
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, vocab), targets.reshape(-1), ignore_index=-1)
    loss.backward()
    folder = os.path.join(HERE, name)
    model.save_pretrained(folder)
    os.chmod(os.path.join(folder, "model.safetensors"), 0o644)
    extra = os.path.join(folder, "generation_config.json")
    if os.path.exists(extra):
        os.remove(extra)
    golden = {
        "rows": ROWS, "length": LENGTH, "ids": ids.flatten().tolist(),
        "targets": targets.flatten().tolist(), "loss": loss.item(),
        "logits": [round(float(v), 7) for v in logits.detach().double().flatten()],
        "gradients": {n: measures(p.grad) for n, p in model.named_parameters()},
    }
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump(golden, file)
        file.write("\n")


for i, model_name in enumerate(MODELS):
    if len(sys.argv) < 2 or model_name in sys.argv[1:]:
        make(model_name, i + 1)

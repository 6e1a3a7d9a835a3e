#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Makes model.json and awq/ beside it. model.json: of the small random Qwen3 models of
# ../model, of one of them with YaRN, and of awq/ (whose weights the reference gets
# dequantised): a prompt, the log-probabilities after each of its tokens, the normed state of the
# last one, and the greedy continuation. awq/ is packed here as AutoAWQ packs ("gemm"), by the
# format's description and not by what is tested.
# Needs torch, transformers and safetensors (made with torch 2.13, transformers 5.19): model.py
import json
import os

import torch
from safetensors.torch import save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "model")
YARN = {"rope_theta": 10000.0, "rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 32}
ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # column of each nibble, lowest first
GROUP = 32


def golden(model, prompt, generated):
    ids = torch.tensor([prompt])
    with torch.no_grad():
        state = model.model(ids).last_hidden_state
        logits = model.lm_head(state)[0]
        greedy = []
        for _ in range(generated):
            last = model(ids).logits[0, -1]
            best = torch.topk(last, 2)
            assert best.values[0] - best.values[1] > 1e-3, "the continuation is not certain"
            greedy.append(int(best.indices[0]))
            ids = torch.cat([ids, best.indices[:1][None]], 1)
    return {
        "prompt": prompt,
        "logprobs": [[round(float(v), 6) for v in row]
                     for row in torch.log_softmax(logits.double(), -1)],
        "state": [round(float(v), 6) for v in state[0, -1]],
        "greedy": greedy,
    }


def prompt_of(seed, vocab, length):
    torch.manual_seed(seed)
    return torch.randint(0, vocab, (length,)).tolist()


def load(name, **changes):
    folder = os.path.join(MODELS, name)
    config = Qwen3Config.from_pretrained(folder, **changes)
    config._attn_implementation = "eager"
    return Qwen3ForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()


def pack(nibbles):
    """[rows, columns] of 0..15 -> int32 [rows, columns / 8]"""
    rows, columns = nibbles.shape
    words = torch.zeros(rows, columns // 8, dtype=torch.int64)
    for i, column in enumerate(ORDER):
        words |= nibbles.reshape(rows, -1, 8)[:, :, column].long() << (4 * i)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).int()


def quantised(weight):
    """[out, in] -> AWQ's three arrays, and what they mean as [out, in]"""
    columns = weight.t()  # [in, out]
    groups = columns.reshape(-1, GROUP, columns.shape[1])
    low = groups.amin(1).clamp(max=0)
    high = groups.amax(1).clamp(min=0)
    scales = ((high - low) / 15).half()
    zeros = (-low / scales.float()).round().clamp(0, 15)
    q = (groups / scales.float()[:, None] + zeros[:, None]).round().clamp(0, 15)
    meant = ((q - zeros[:, None]) * scales.float()[:, None]).reshape(columns.shape)
    return pack(q.reshape(columns.shape)), pack(zeros), scales, meant.t().contiguous()


def make_awq():
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=83, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=8, num_key_value_heads=4, head_dim=16,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=3,
        tie_word_embeddings=False,
        rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"})
    config._attn_implementation = "eager"
    model = Qwen3ForCausalLM(config).float().eval()
    tensors = {}
    for name, p in model.named_parameters():
        with torch.no_grad():
            if p.dim() == 1:
                p.copy_((1 + 0.3 * torch.randn(p.shape)).half())
            else:
                p.copy_((0.2 * torch.randn(p.shape)).half())
            if "_proj" not in name:
                tensors[name] = p.half()
                continue
            stem = name.removesuffix(".weight")
            weights, zeros, scales, meant = quantised(p)
            tensors[stem + ".qweight"] = weights
            tensors[stem + ".qzeros"] = zeros
            tensors[stem + ".scales"] = scales
            p.copy_(meant)
    folder = os.path.join(HERE, "awq")
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.clone() for k, v in tensors.items()},
              os.path.join(folder, "model.safetensors"), {"format": "pt"})
    os.chmod(os.path.join(folder, "model.safetensors"), 0o644)
    says = {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "eos_token_id": 3,
        "head_dim": 16, "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 128,
        "max_position_embeddings": 64, "max_window_layers": 2, "model_type": "qwen3",
        "num_attention_heads": 8, "num_hidden_layers": 2, "num_key_value_heads": 4,
        "quantization_config": {
            "bits": 4, "group_size": GROUP, "modules_to_not_convert": None,
            "quant_method": "awq", "version": "gemm", "zero_point": True},
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "float16",
        "use_sliding_window": False, "vocab_size": 83,
    }
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(says, file, indent=2)
        file.write("\n")
    return model


def main():
    found = {}
    for seed, name in enumerate(["qwen3-tied", "qwen3-untied", "qwen3-wide"]):
        found[name] = golden(load(name), prompt_of(seed + 1, 53, 19), 12)
    yarn = load("qwen3-untied", rope_parameters=YARN, max_position_embeddings=128)
    found["yarn"] = golden(yarn, prompt_of(14, 53, 70), 12)
    found["awq"] = golden(make_awq(), prompt_of(15, 83, 23), 12)
    with open(os.path.join(HERE, "model.json"), "w") as file:
        json.dump(found, file)
        file.write("\n")


main()

# SPDX-License-Identifier: Apache-2.0
# A small file of safetensors' own writer, as a C array: python safetensors_golden.py
# (with torch and safetensors) prints safetensors_golden.h.
import torch
from safetensors.torch import save

bits = torch.tensor([0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0xc2c8, 0x7bff, 0x7c00,
                     0xfc00, 0x7e00], dtype=torch.int32)
tensors = {
    "f32": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 4,
    "bf16": torch.tensor([1.0, -2.5, 3.140625], dtype=torch.bfloat16),
    "f16": bits.to(torch.uint16).view(torch.float16),
    "f64": torch.tensor(0.1, dtype=torch.float64),
    "i64": torch.tensor([-1, 2**40], dtype=torch.int64),
    "u8": torch.tensor([[7], [255]], dtype=torch.uint8),
    "empty": torch.zeros(0, 4),
    "flags": torch.tensor([True, False]),
    "f8": torch.tensor([1.0, 2.0], dtype=torch.float8_e4m3fn),
}
data = save(tensors, metadata={"format": "pt", "note": "größer"})
print("/* SPDX-License-Identifier: Apache-2.0")
print(" * Made by safetensors_golden.py. */")
print("static const unsigned char golden[] = {")
for i in range(0, len(data), 16):
    print("    " + " ".join(f"0x{b:02x}," for b in data[i:i + 16]))
print("};")

# SPDX-License-Identifier: Apache-2.0
"""Hugging Face tokenizers' part of tokenizer.sh."""

import json
import random
import struct
import subprocess
import sys
import time

from tokenizers import ByteLevelBPETokenizer, Tokenizer

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def words(megabytes):
    """Sentences of made-up words whose frequencies fall as Zipf's law says."""
    rng = random.Random(1)
    heads = "b c d f g h l m n p r s t v w st tr pl sh th".split()
    tails = "a e i o u ai ea ou an en in on ar er or al el ing ed ion".split()
    known = ["".join(rng.choice(heads) + rng.choice(tails) for _ in range(rng.randrange(1, 5)))
             for _ in range(200000)]
    weights = [1 / (i + 10) for i in range(len(known))]
    left = megabytes * 1000000
    while left > 0:
        line = rng.choices(known, weights, k=1000)
        for i in range(0, 1000, rng.randrange(8, 20)):
            line[i] = line[i].capitalize()
            if i:
                line[i - 1] += rng.choice([".", ".", ",", "?", "'s,", " 42;", " (2024)."])
        text = " ".join(line) + "\n"
        left -= len(text)
        sys.stdout.write(text)


def trained(path, ours):
    with open(path, encoding="utf-8", newline="") as f:
        text = f.read()
    peer = ByteLevelBPETokenizer()
    start = time.perf_counter()
    peer.train_from_iterator([text], vocab_size=30000, special_tokens=["<|endoftext|>"],
                             show_progress=False)
    print(f"Hugging Face: {time.perf_counter() - start:.2f} s")
    with open(ours, encoding="utf-8") as f:
        same = json.load(f) == json.loads(peer._tokenizer.to_str())
    print("the same tokenizer.json" if same else "DIFFERENT tokenizer.json")


def qwen(path):
    """The trained vocabulary with Qwen3's pipeline and added tokens."""
    with open(path, encoding="utf-8") as f:
        root = json.load(f)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
             "use_regex": False}
    root["normalizer"] = {"type": "NFC"}
    root["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": QWEN}, "behavior": "Isolated",
         "invert": False}, level]}
    root["post_processor"] = root["decoder"] = level
    names = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|fim_prefix|>",
             "<tool_call>", "</tool_call>", "<think>", "</think>"]
    first = len(root["model"]["vocab"])
    root["added_tokens"] += [
        {"id": first + i, "content": name, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": name.startswith("<|")}
        for i, name in enumerate(names)]
    json.dump(root, sys.stdout, ensure_ascii=False)


def speed(path, text):
    peer = Tokenizer.from_file(path)
    with open(text, encoding="utf-8", newline="") as f:
        lines = f.read().splitlines(keepends=True)
    size = sum(len(line.encode()) for line in lines)
    best = 0
    for _ in range(2):
        start = time.perf_counter()
        count = sum(len(e.ids) for e in peer.encode_batch(lines, add_special_tokens=False))
        best = max(best, size / 1e6 / (time.perf_counter() - start))
    print(f"Hugging Face: {best:.1f} MB/s, {count} tokens")


def random_text(rng, special):
    def between(first, last):
        return lambda: chr(rng.randrange(first, last))

    def of(*choices):
        return lambda: rng.choice(choices)

    pools = [between(32, 127), between(0xa0, 0x250), between(0x300, 0x370),
             between(0x370, 0x600), between(0x600, 0x1100), between(0x1100, 0x1200),
             between(0xac00, 0xd7a4), between(0x1200, 0x3100), between(0x4e00, 0xa000),
             between(0x10000, 0x20000), between(0x1f300, 0x1fb00), between(0x898, 0x8d4),
             between(0x1ab0, 0x1ad0), between(0x16100, 0x16d80), between(0x11300, 0x11400),
             of(*" \t\n\r\x0b\x0c\x85\u00a0\u2003\u3000\u2028\u180e\u200b"),
             of(*"0123456789½²٣๓Ⅷ"), of("'s", "'S", "'t", "'RE", "'ve", "'\u017f", "''"),
             of("the ", " of", "and", "ing", "\r\n", "e\u0301\u0323", "\u09c7\u09be",
                "\u1100\u1161\u11a8", "\uac00\u11a8", "\u212b", "\u0344", "\ufb1d",
                "\U0001d15e", "\U00011935\U00011930"), of(*special),
             lambda: chr(rng.choice((rng.randrange(0xd800), rng.randrange(0xe000, 0x110000))))]
    used = [rng.choice(pools) for _ in range(rng.randrange(1, 5))]
    return "".join(rng.choice(used)() for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 21, 60))))


def our_ids(tool, path, texts):
    given = b"".join(struct.pack("I", len(t)) + t for t in (t.encode() for t in texts))
    out = subprocess.run([tool, "ids", path], input=given, stdout=subprocess.PIPE,
                         check=True).stdout
    at = 0
    for _ in texts:
        count, = struct.unpack_from("I", out, at)
        yield list(struct.unpack_from(f"{count}i", out, at + 4))
        at += 4 + 4 * count


def same(path, total, tool):
    peer = Tokenizer.from_file(path)
    with open(path, encoding="utf-8") as f:
        special = [t["content"] for t in json.load(f)["added_tokens"]]
    rng = random.Random(7)
    differ = done = 0
    while done < total:
        texts = [random_text(rng, special) for _ in range(min(50000, total - done))]
        theirs = peer.encode_batch(texts, add_special_tokens=False)
        for text, ours, encoding in zip(texts, our_ids(tool, path, texts), theirs):
            if ours != encoding.ids:
                differ += 1
                if differ <= 5:
                    print("differs:", ascii(text))
        done += len(texts)
    print(f"{done} random strings, {differ} with other ids")


def main():
    what, args = sys.argv[1], sys.argv[2:]
    if what == "words":
        words(int(args[0]))
    elif what == "head":
        with open(args[1], "rb") as f:
            part = f.read(int(args[0]) * 1000000)
        sys.stdout.buffer.write(part.decode("utf-8", "ignore").encode())
    elif what == "same":
        same(args[0], int(args[1]), args[2])
    else:
        {"trained": trained, "qwen": qwen, "speed": speed}[what](*args)


if __name__ == "__main__":
    main()

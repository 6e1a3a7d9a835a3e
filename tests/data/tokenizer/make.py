#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of check_tokenizer*.c with Hugging Face tokenizers 0.23.3:

    python3 tests/data/tokenizer/make.py

corpus.txt      what small.json was trained on: sentences of many scripts
small.json      a tokenizer.json of ByteLevelBPETokenizer's layout, trained on corpus.txt
variants.json   name: the keys of small.json that differ in this variant
cases.jsonl     {"t": text, variant: ids, ...} for each text; "small" is small.json itself
"""

import json
import os
import random

from tokenizers import ByteLevelBPETokenizer, Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB_SIZE = 700
SPECIAL = ["<|endoftext|>", "<pad>", "the"]

SENTENCES = [
    "All human beings are born free and equal in dignity and rights. They are endowed with "
    "reason and conscience and should act towards one another in a spirit of brotherhood.",
    "It's what they'd've said: we're here, I'm there, you'll see, don't. IT'S NOT.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Größe, Äpfel, über.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits. L'été, ça va?",
    "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "Всички хора се раждат свободни и равни по достойнство и права.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền. Cửa Việt.",
    "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។",
    "0 1 12 123 1234 3.14159 2024-11-28 ½ ² Ⅷ ٣ x += 1; // for (i = 0; i < n; i++) {}",
    "\tif (x == NULL)\r\n\t\treturn -1;\n\n    y  =   z;\n\n\n",
    "😀 😁 🤣 👩‍👩‍👧 🇩🇪 ❤️ — “quotes” … «»",
]

FIXED = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\t\n", "\r\n", " \n ", "\r",
    "Hello world", " Hello world", "Hello World", " Hello World", " Hello World!",
    "Hello, world!", " Hello, world!", " this is 🦙.cpp", "w048 7tuijk dsdfhu",
    "нещо на Български", "កាន់តែពិសេសអាចខលចេញ",
    "🚀 (normal) 😶‍🌫️ (multiple emojis concatenated) ✅ (only emoji that has its own token)",
    "Hello", " Hello", "  Hello", "   Hello", "    Hello", "    Hello\n    Hello", " (",
    "\n =", "' era", "Hello, y'all! How are you 😁 ?我想在apple工作1314151天～", "!!!!!!",
    "3", "33", "333", "3333", "33333", "333333", "3333333", "33333333", "333333333",
    "Cửa Việt", " discards", "ied 4 ½ months", "Äpfel", "I'm I'M we'RE 'Ll '\u017f it'\u017fs",
    "a'", "'", "''s", "x's's", "\u00a0x", "\u3000\u3000x", "x \u2028\n y", "\x85\x85", "\u180ex",
    "e\u0301", "\u00e9", "e\u0323\u0302", "e\u0302\u0323", "\u212b \u2126 \u0958 \ufb1d", "\u0344",
    "\u1100\u1161\u11a8", "\uac00\u11a8", "\uac01\u11a8", "\u09c7\u09be", "\U0001d15e",
    "\U00011935\U00011930", "a\u0898\u0327", "a\u0301\u0898\u0327", "a" + "\u0301\u0327" * 20,
    "\u1c89\U0001e4d0\U000323af \U0001e4f0", "a\x00b", "\x00", "a" * 200, "ab" * 150,
    "\u0e33" * 60, " " * 300 + "x", "\n" * 100 + "x", "\U0010ffff\ufffe",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>", "<think>\n\n</think>\n\nyes", "<|im_", "<|im_end|",
    "the then the", "<<|im_end|>>", "<|endoftext|><pad> the",
    "a <l> b <r> c <b>  d", "<l>  <r>  <b>", "a<w>b <w> c<w> <w>d", "\u24b6<w> \u0301<w> _<w>",
    "word words sword word", "e\u0301<l>\u00e9", "\u212b\u00c5", "  <r>   x", "a   b", "ab abc abcd abcdab",
]


def token(content, special, **flags):
    entry = {"id": 0, "content": content, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": special}
    entry.update(flags)
    return entry


def numbered(tokens, vocab):
    following = len(vocab)
    for entry in tokens:
        if entry["content"] in vocab:
            entry["id"] = vocab[entry["content"]]
        else:
            entry["id"] = following
            following += 1
    return tokens


def variants(small):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                  "use_regex": False}

    def split(pattern):
        return {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
             "invert": False}, byte_level]}

    qwen = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    vocab = small["model"]["vocab"]
    special = ["<|im_start|>", "<|im_end|>"]
    plain = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
    odd = [token("<l>", True, lstrip=True), token("<r>", True, rstrip=True),
           token("<b>", True, lstrip=True, rstrip=True), token("<w>", True, single_word=True),
           token("word", False, single_word=True, normalized=True),
           token("e\u0301", False, normalized=True), token("  ", False),
           token("\u212b", False), token("\u00c5", False, normalized=True),
           token("ab", False), token("abcd", False), token("the", False, normalized=True)]
    return {
        "qwen": {"normalizer": {"type": "NFC"}, "pre_tokenizer": split(qwen),
                 "post_processor": byte_level, "decoder": byte_level,
                 "added_tokens": numbered(
                     [token(t, True) for t in ["<|endoftext|>"] + special] +
                     [token(t, False) for t in plain], vocab)},
        "odd": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
                "pre_tokenizer": split(qwen), "added_tokens": numbered(odd, vocab)},
        "digits": {"pre_tokenizer": split(qwen.replace(r"\p{N}|", r"\p{N}{1,3}|"))},
    }


def random_text(rng):
    def between(first, last):
        return lambda: chr(rng.randrange(first, last))

    def of(*choices):
        return lambda: rng.choice(choices)

    pools = [between(32, 127), between(32, 127), of(*" \t\n\r\x0b\x85\u00a0\u2003\u3000"),
             between(0xa0, 0x250), between(0x300, 0x370), between(0x370, 0x600),
             between(0x900, 0x980), between(0x1100, 0x1200), between(0xac00, 0xd7a4),
             between(0x3040, 0x3100), between(0x4e00, 0x9fff), between(0x1f300, 0x1f700),
             between(0x10000, 0x110000), of("'s", "'S", "'re", "'VE", "'\u017f", "0", "7", "½"),
             of("the ", "of ", " and", " free", "rights", "\r\n", "  "),
             of("<l>", "<r>", "<w>", "<b>", "word", "<|im_end|>", "<think>", "abc", "the")]
    used = [rng.choice(pools) for _ in range(rng.randrange(1, 5))]
    return "".join(rng.choice(used)() for _ in range(rng.choice([2, 3, 5, 8, 13, 21])))


def main():
    corpus = "\n".join(SENTENCES + SENTENCES[::-1]) + "\n"
    with open(os.path.join(HERE, "corpus.txt"), "w", encoding="utf-8", newline="") as f:
        f.write(corpus)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([corpus], vocab_size=VOCAB_SIZE, special_tokens=SPECIAL,
                                show_progress=False)
    small = json.loads(trained._tokenizer.to_str())
    changed = variants(small)
    with open(os.path.join(HERE, "small.json"), "w", encoding="utf-8") as f:
        json.dump(small, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    with open(os.path.join(HERE, "variants.json"), "w", encoding="utf-8") as f:
        json.dump(changed, f, indent=1)
        f.write("\n")
    peers = {"small": Tokenizer.from_str(json.dumps(small))}
    for name, keys in changed.items():
        peers[name] = Tokenizer.from_str(json.dumps({**small, **keys}))
    rng = random.Random(5)
    texts = FIXED + SENTENCES + [random_text(rng) for _ in range(220)]
    with open(os.path.join(HERE, "cases.jsonl"), "w", encoding="utf-8") as f:
        for text in texts:
            case = {"t": text}
            for name, peer in peers.items():
                case[name] = peer.encode(text, add_special_tokens=False).ids
            f.write(json.dumps(case, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

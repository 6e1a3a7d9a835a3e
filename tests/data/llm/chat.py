#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes chat.json: conversations and the prompts that transformers makes of them with a chat
template. Run: chat.py CHAT_TEMPLATE.jinja >chat.json, with that of Qwen3's hybrid models.
"""
import json
import random
import sys

from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATE = open(sys.argv[1], encoding="utf-8").read().rstrip("\n")
TOOL = {"type": "function", "function": {
    "name": "weather", "description": "Weather of a \"city\" – now",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "number", "minimum": 0.5, "maximum": 1e22}},
        "required": ["city"]}}}
SMALL = {"type": "function", "function": {"name": "now", "parameters": {}}}


def call(name, arguments):
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


USER = {"role": "user", "content": "Hello, größe 😀\n"}
SYSTEM = {"role": "system", "content": "Be brief."}
CASES = [
    ("user", {"messages": [USER]}),
    ("system", {"messages": [SYSTEM, USER]}),
    ("no thinking", {"messages": [USER], "enable_thinking": False}),
    ("thinking", {"messages": [USER], "enable_thinking": True}),
    ("no generation prompt", {"messages": [USER], "add_generation_prompt": False}),
    ("tools", {"messages": [USER], "tools": [TOOL, SMALL]}),
    ("tools and system", {"messages": [SYSTEM, USER], "tools": [TOOL]}),
    ("late system", {"messages": [USER, SYSTEM, USER]}),
    ("history loses thinking", {"messages": [
        USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}, USER]}),
    ("history with reasoning_content", {"messages": [
        USER, {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}, USER]}),
    ("last is the assistant", {"messages": [
        USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}]}),
    ("last without thinking", {"messages": [USER, {"role": "assistant", "content": "\n\nYes."}]}),
    ("odd tags", {"messages": [
        USER, {"role": "assistant", "content": "a<think>b</think>c</think>\n\nd"}]}),
    ("close tag alone", {"messages": [
        USER, {"role": "assistant", "content": "b\n\n</think>\n\nd"}]}),
    ("newlines as reasoning", {"messages": [
        USER, {"role": "assistant", "content": "x", "reasoning_content": "\n"},
        {"role": "assistant", "content": "y"}]}),
    ("a call and its answer", {"messages": [
        USER, {"role": "assistant", "content": "", "reasoning_content": "look",
               "tool_calls": [call("weather", {"city": "Köln", "days": 2.0})]},
        {"role": "tool", "content": "{\"t\": 20}"}], "tools": [TOOL]}),
    ("two calls, two answers", {"messages": [
        USER, {"role": "assistant", "content": "Both.",
               "tool_calls": [call("weather", "{\"city\": \"Bonn\"}"),
                              call("now", {"a": [1, 1.5, None, True, "\u0001\"\\/\x7f"]})]},
        {"role": "tool", "content": "20"}, {"role": "tool", "content": "noon"}],
        "tools": [TOOL, SMALL]}),
    ("call without content", {"messages": [
        USER, {"role": "assistant", "content": None, "tool_calls": [call("now", {})]},
        {"role": "tool", "content": "noon"}, {"role": "assistant", "content": "Noon."}, USER]}),
    ("plain call", {"messages": [
        USER, {"role": "assistant", "content": None,
               "tool_calls": [{"name": "now", "arguments": {}}]}]}),
    ("answer as user", {"messages": [
        USER, {"role": "assistant", "content": "<think>\nx\n</think>\n\n<tool_call>"},
        {"role": "user", "content": "<tool_response>\n1\n</tool_response>"}]}),
]


def invent(rng):
    """A random conversation."""
    pieces = ["a", "<think>", "</think>", "\n", "\n\n", " ", "é", "<tool_response>",
              "</tool_response>", "word"]
    text = lambda: "".join(rng.choice(pieces) for _ in range(rng.randrange(6)))
    messages = [{"role": "system", "content": text()}] if rng.random() < 0.3 else []
    for _ in range(rng.randrange(1, 6)):
        role = rng.choice(["user", "user", "assistant", "assistant", "tool"])
        message = {"role": role, "content": text()}
        if role == "assistant" and rng.random() < 0.3:
            message["reasoning_content"] = text()
        if role == "assistant" and rng.random() < 0.3:
            message["tool_calls"] = [call("f", {"x": rng.random() * 10 ** rng.randrange(-9, 20)})
                                     for _ in range(rng.randrange(1, 3))]
        messages.append(message)
    case = {"messages": messages}
    if rng.random() < 0.3:
        case["tools"] = [SMALL]
    if rng.random() < 0.3:
        case["enable_thinking"] = False
    return case


def render(case):
    kwargs = {k: v for k, v in case.items() if k not in ("messages", "tools")}
    kwargs.setdefault("add_generation_prompt", True)
    out, _ = render_jinja_template(conversations=[case["messages"]], tools=case.get("tools"),
                                   chat_template=TEMPLATE, **kwargs)
    return out[0]


rng = random.Random(3)
cases = CASES + [("random %d" % i, invent(rng)) for i in range(60)]
print("[")
print(",\n".join(json.dumps({"name": n, "request": c, "prompt": render(c)}, ensure_ascii=False)
                 for n, c in cases))
print("]")

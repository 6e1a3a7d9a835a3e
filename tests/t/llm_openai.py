#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives a server with the official OpenAI client: llm_openai.py BASE_URL. It takes a model of any
quality: what is checked is the shape of replies, lengths, and what is constrained. Prints one
line for each check that passed; the first that fails ends it.
"""
import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key=sys.argv[2] if len(sys.argv) > 2 else "none",
                       max_retries=0, timeout=120)
MODEL = client.models.list().data[0].id
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"},
    "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}},
    "required": ["name", "age", "tags"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "the weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 5}},
        "required": ["city"], "additionalProperties": False}}}]
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


def check(name, condition, shown=None):
    if not condition:
        print("FAILED: %s: %r" % (name, shown))
        sys.exit(1)
    print("ok: " + name)


def chat(**more):
    more.setdefault("messages", HELLO)
    more.setdefault("max_tokens", 12)
    return client.chat.completions.create(model=MODEL, **more)


def refused(name, kind, text, call):
    try:
        call()
    except kind as error:
        check(name, text in str(error), str(error))
        return
    check(name, False, "nothing was raised")


check("models", client.models.retrieve(MODEL).id == MODEL)

one = chat(extra_body={"ignore_eos": True})
check("chat", one.choices[0].finish_reason == "length" and one.usage.completion_tokens == 12
      and one.object == "chat.completion" and one.choices[0].message.role == "assistant", one)
a, b = (chat(seed=7, temperature=1.5).choices[0].message for _ in range(2))
check("a seed repeats", a == b, (a, b))
c, d = (chat(temperature=0, extra_body=NO_THINKING).choices[0].message.content for _ in range(2))
check("greedy repeats", c == d, (c, d))
three = chat(n=3, temperature=1.0)
check("n", [x.index for x in three.choices] == [0, 1, 2], three)

chunks = list(chat(stream=True, temperature=0, stream_options={"include_usage": True},
                   extra_body=NO_THINKING))
text = "".join(x.choices[0].delta.content or "" for x in chunks if x.choices)
check("streamed as whole", text == c, (text, c))
check("first chunk", chunks[0].choices[0].delta.role == "assistant", chunks[0])
check("usage chunk", chunks[-1].usage.completion_tokens > 0 and chunks[-1].choices == [], chunks[-1])
check("finish chunk", chunks[-2].choices[0].finish_reason in ("stop", "length"), chunks[-2])

probs = chat(logprobs=True, top_logprobs=3, temperature=0).choices[0].logprobs.content
check("logprobs", len(probs) > 0 and all(len(p.top_logprobs) == 3 and p.logprob <= 0
                                         and p.token == p.top_logprobs[0].token for p in probs), probs)
biased = chat(logit_bias={"65": 100}, temperature=0, extra_body={"ignore_eos": True},
              logprobs=True).choices[0].logprobs.content
check("logit_bias", len({p.token for p in biased}) == 1, biased)

for stream in (False, True):
    reply = chat(response_format={"type": "json_schema", "json_schema": {
        "name": "person", "schema": SCHEMA}}, max_tokens=400, temperature=1.0, seed=3, stream=stream,
        extra_body=NO_THINKING)
    text = ("".join(x.choices[0].delta.content or "" for x in reply) if stream
            else reply.choices[0].message.content)
    person = json.loads(text)
    check("json_schema, stream=%s" % stream, set(person) == set(SCHEMA["properties"])
          and isinstance(person["age"], int) and len(person["name"]) <= 8, text)
choice = chat(extra_body={"guided_choice": ["yes", "no"], **NO_THINKING}).choices[0].message.content
check("choice", choice in ("yes", "no"), choice)

called = chat(tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=200,
              extra_body=NO_THINKING).choices[0]
check("tools", called.finish_reason == "tool_calls"
      and called.message.tool_calls[0].function.name == "weather"
      and set(json.loads(called.message.tool_calls[0].function.arguments)) == {"city"}, called)
calls = [x.choices[0].delta.tool_calls for x in
         chat(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}},
              stream=True, max_tokens=200, extra_body=NO_THINKING) if x.choices]
calls = [x for x in calls if x]
check("streamed tools", len(calls) == 1 and calls[0][0].function.name == "weather", calls)
turn = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"X\"}"}}]}
answer = chat(messages=HELLO + [turn, {"role": "tool", "tool_call_id": "c", "content": "sun"}], tools=TOOLS)
check("a tool's answer", answer.usage.prompt_tokens > 50, answer)

text = client.completions.create(model=MODEL, prompt="Once", max_tokens=6, echo=True, logprobs=2,
                                 extra_body={"ignore_eos": True})
check("completion", text.choices[0].text.startswith("Once") and text.usage.completion_tokens == 6
      and len(text.choices[0].logprobs.tokens) == text.usage.total_tokens
      and text.choices[0].logprobs.token_logprobs[0] is None, text)
many = client.completions.create(model=MODEL, prompt=["a", "b"], max_tokens=2, n=2, temperature=1)
check("prompts and n", [x.index for x in many.choices] == [0, 1, 2, 3], many)
ids = client.completions.create(model=MODEL, prompt=[65, 66, 67], max_tokens=2)
check("ids", ids.usage.prompt_tokens == 3, ids)
streamed = "".join(x.choices[0].text for x in client.completions.create(
    model=MODEL, prompt="Once", max_tokens=6, temperature=0, stream=True))
whole = client.completions.create(model=MODEL, prompt="Once", max_tokens=6, temperature=0)
check("streamed completion", streamed == whole.choices[0].text, streamed)
stop = whole.choices[0].text[3:6]
ended = client.completions.create(model=MODEL, prompt="Once", max_tokens=6, temperature=0, stop=[stop])
check("stop", ended.choices[0].finish_reason == "stop" and stop not in ended.choices[0].text, ended)

two = client.embeddings.create(model=MODEL, input=["one", "two"])
length = sum(x * x for x in two.data[0].embedding)
check("embeddings", len(two.data) == 2 and abs(length - 1) < 1e-3, length)
floats = client.embeddings.create(model=MODEL, input="one", encoding_format="float")
check("embedding as floats", all(abs(x - y) < 1e-6 for x, y in
                                 zip(two.data[0].embedding, floats.data[0].embedding)))

short = client.embeddings.create(model=MODEL, input=[[65, 66], [67]], dimensions=16)
check("short embeddings", all(len(x.embedding) == 16 and abs(sum(y * y for y in x.embedding) - 1) < 1e-3
                              for x in short.data) and short.usage.prompt_tokens == 3, short)
quiet = chat(store=True, metadata={"a": "b"}, user="me", service_tier="auto", reasoning_effort="none",
             parallel_tool_calls=True, extra_body={"guided_choice": ["yes"]})
check("what changes nothing", quiet.choices[0].message.content == "yes"
      and quiet.usage.prompt_tokens_details.cached_tokens >= 0, quiet)
more = list(chat(n=2, stream=True, temperature=1.0, seed=1, logprobs=True, top_logprobs=1,
                 stream_options={"include_usage": True}, extra_body={"ignore_eos": True}))
check("n streamed", all(sum(len(x.choices[0].logprobs.content) for x in more
                            if x.choices and x.choices[0].index == i and x.choices[0].logprobs) == 12
                        for i in (0, 1)) and more[-1].usage.completion_tokens == 24, more[-1])
prompt = client.completions.create(model=MODEL, prompt="Once", max_tokens=0, echo=True, logprobs=1)
check("only an echo", prompt.choices[0].text == "Once" and prompt.usage.completion_tokens == 0, prompt)
goes_on = chat(messages=HELLO + [{"role": "assistant", "content": "I"}], extra_body={
    "add_generation_prompt": False, "continue_final_message": True, "guided_choice": ["yes"]})
check("a message is continued", goes_on.choices[0].message.content == "yes", goes_on)


def told(name, kind, code, param, call):
    try:
        call()
    except kind as error:
        check(name, (error.code, error.param) == (code, param), (error.code, error.param, str(error)))
        return
    check(name, False, "nothing was raised")


told("code: model", openai.NotFoundError, "model_not_found", "model", lambda: client.models.retrieve("other"))
told("code: length", openai.BadRequestError, "context_length_exceeded", "prompt",
     lambda: client.completions.create(model=MODEL, prompt=[1] * 100000))
told("code: room", openai.BadRequestError, "context_length_exceeded", "max_completion_tokens",
     lambda: chat(max_tokens=openai.NOT_GIVEN, max_completion_tokens=100000000, stream=True))
told("code: not here", openai.BadRequestError, "unsupported_parameter", "modalities",
     lambda: chat(modalities=["text", "audio"]))
told("code: type", openai.BadRequestError, "invalid_type", "top_k", lambda: chat(extra_body={"top_k": "a"}))
told("code: address", openai.NotFoundError, "unknown_url", None,
     lambda: client.responses.create(model=MODEL, input="x"))
refused("unknown model", openai.NotFoundError, "is not served here",
        lambda: client.completions.create(model="other", prompt="a"))
refused("bad temperature", openai.BadRequestError, "temperature",
        lambda: chat(temperature=-1))
refused("bad role", openai.BadRequestError, "messages[0]",
        lambda: chat(messages=[{"role": "robot", "content": "x"}]))
refused("too long", openai.BadRequestError, "tokens",
        lambda: client.completions.create(model=MODEL, prompt=[1] * 100000))
refused("too many tokens", openai.BadRequestError, "max_tokens",
        lambda: chat(max_tokens=100000000))
refused("bad schema", openai.BadRequestError, "pattern", lambda: chat(response_format={
    "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "a"}}}))
print("all is well")

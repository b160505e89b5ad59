"""Chat templates: the published formats render; hostile ones end quickly, in little memory."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from typing import Any

import pytest

from edgeslm.chat_template import MAX_TEMPLATE, TemplateRefusedError, render
from edgeslm.errors import ModelFileError

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi {{ 7 * 7 }}"}

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
PHI = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and "
    "message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + "
    "'<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
"""


def rendered(template: str, *messages: dict[str, str]) -> str:
    return render(
        template,
        {
            "messages": list(messages),
            "add_generation_prompt": True,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "tools": None,
        },
    )


FAMILIES = {
    "chatml": (
        CHATML,
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi {{ 7 * 7 }}<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llama3": (
        LLAMA3,
        "<bos><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi {{ 7 * 7 }}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "phi": (PHI, "<|system|>Be brief.<|end|><|user|>Hi {{ 7 * 7 }}<|end|><|assistant|>"),
    "mistral": (MISTRAL, "<bos>[INST] Be brief.\n\nHi {{ 7 * 7 }}[/INST]"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_published_formats_render(family: str) -> None:
    template, expected = FAMILIES[family]
    assert rendered(template, SYSTEM, USER) == expected


def test_chatml_without_a_system_message() -> None:
    assert rendered(CHATML, USER).startswith("<|im_start|>system\nYou are helpful<|im_end|>\n")


def test_gemma_refuses_a_system_message() -> None:
    with pytest.raises(TemplateRefusedError, match="System role not supported"):
        rendered(GEMMA, SYSTEM, USER)
    assert rendered(GEMMA, USER) == (
        "<bos><start_of_turn>user\nHi {{ 7 * 7 }}<end_of_turn>\n<start_of_turn>model\n"
    )


HOSTILE = {
    "nested loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "huge range": "{% for a in range(10**12) %}x{% endfor %}",
    "range to list": "{{ range(99999) | list | length }}" * 200,
    "long list": "{% set a = range(99999) | list %}{% for b in range(900) %}"
    "{% set c = a + a + a %}{% endfor %}",
    "multiplied text": "{{ 'x' * 10**9 }}",
    "multiplied from the left": "{{ 10**9 * 'x' }}",
    "multiplied flag": "{{ 'x' * true * 999999999 }}",
    "doubled text": "{% set n = namespace(t='x') %}{% for a in range(60) %}"
    "{% set n.t = n.t + n.t %}{% endfor %}{{ n.t | length }}",
    "doubled by joining": "{% set n = namespace(t='x' * 1000) %}{% for a in range(60) %}"
    "{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t | length }}",
    "doubled by a filter": "{% set n = namespace(t='x' * 1000) %}{% for a in range(60) %}"
    "{% set n.t = [n.t, n.t] | join %}{% endfor %}{{ n.t | length }}",
    "doubled by a method": "{% set n = namespace(t='x' * 1000) %}{% for a in range(60) %}"
    "{% set n.t = ''.join([n.t, n.t]) %}{% endfor %}{{ n.t | length }}",
    "doubled by join with a separator": "{{ ('x' * 900000).join(range(90000) | map('string')) }}",
    "joined with a separator": "{{ range(90000) | join('x' * 900000) }}",
    "replaced": "{{ ('x' * 900000).replace('x', 'y' * 900000) | length }}",
    "replaced by a filter": "{{ ('x' * 900000) | replace('x', 'y' * 900000) | length }}",
    "replaced by another name": "{% set r = ('x' * 900000).replace %}{{ r('x', 'y' * 900000) }}",
    "replaced by map": "{{ ['x' * 900000] | map('replace', 'x', 'y' * 900000) | list | length }}",
    "split": "{{ ('x ' * 400000).split() | map('list') | list | length }}" * 50,
    "big number": "{% set n = namespace(t=10) %}{% for a in range(60) %}"
    "{% set n.t = n.t * n.t %}{% endfor %}{{ n.t }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "shift": "{{ 1.__lshift__(9999999999) }}",
    "format width": "{{ '%999999999d' % 1 }}",
    "format filter": "{{ '%999999999d' | format(1) }}",
    "str.format": "{{ '{:999999999}'.format(1) }}",
    "str.format of attributes": "{{ '{0.__class__}'.format(messages) }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "center": "{{ 'x'.center(999999999) }}",
    "center filter": "{{ 'x' | center(999999999) }}",
    "ljust": "{{ 'x'.ljust(999999999) }}",
    "zfill": "{{ 'x'.zfill(999999999) }}",
    "expandtabs": "{{ '\t'.expandtabs(999999999) }}",
    "indent": "{{ ('x\n' * 400000) | indent(90000) }}",
    "tojson indent": "{{ (range(90000) | list) | tojson(indent=90000) }}",
    "encode": "{{ 'x'.encode('utf-8').decode('unicode_escape') * 999999999 }}",
    "class": "{{ messages.__class__.__mro__ }}",
    "subclasses": "{{ ''.__class__.__base__.__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "attr filter": "{{ messages | attr('__class__') }}",
    "map attribute": "{{ [messages] | map(attribute='__class__') | list }}{{ [].x.y }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
    "self": "{{ self.__init__.__globals__ }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os.getcwd() }}",
    "from import": "{% from 'os' import getcwd %}{{ getcwd() }}",
    "extends": "{% extends 'base.html' %}",
    "mutate": "{{ messages.append(1) }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "deep parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "deep lists": "{{ " + "[" * 50_000 + "]" * 50_000 + " }}",
    "deep blocks": "{% if 1 %}" * 20_000 + "{% endif %}" * 20_000,
    "deep unary": "{{ " + "not " * 60_000 + "1 }}",
    "deep sum": "{{ " + "1+" * 100_000 + "1 }}",
    "long output": "{% for a in range(90000) %}{{ 'x' * 999 }}{% endfor %}",
    "lipsum": "{{ lipsum(n=99999) }}",
    "unclosed": "{% for a in messages %}",
    "unknown filter": "{{ messages | shell }}",
    "too long": "x" * (MAX_TEMPLATE + 1),
    "constant folding": "{{ 'x' * 999999 * 999999 }}",
    "nested comprehension by filters": "{{ range(99999) | map('string') | map('length') | list }}"
    * 100,
    "unique": "{{ range(99999) | list | unique | list | length }}" * 100,
}


def outcome(template: str) -> str:
    try:
        text = rendered(template, USER)
    except ModelFileError:
        return "refused"
    except TemplateRefusedError:
        return "raised"
    return f"rendered {len(text)}"


def limited_outcome(name: str) -> tuple[str, float]:
    """Run in a child of bounded memory: what escapes the sandbox must not take the tests along."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    start = time.process_time()
    return outcome(HOSTILE[name]), time.process_time() - start

"""Chat templates: the published formats render; hostile ones end quickly, in little memory."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from edgeslm.decoding.chat_template import MAX_TEMPLATE, TemplateRefusedError, render
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
    "deep parentheses": "{{ " + "(" * 30_000 + "1" + ")" * 30_000 + " }}",
    "deep lists": "{{ " + "[" * 30_000 + "]" * 30_000 + " }}",
    "deep minus": "{{ " + "-" * 60_000 + "1 }}",
    "deep unary": "{{ " + "not " * 16_000 + "1 }}",
    "deep sum": "{{ " + "1+" * 32_000 + "1 }}",
    "long output": "{% for a in range(90000) %}{{ 'x' * 999 }}{% endfor %}",
    "lipsum": "{{ lipsum(n=99999) }}",
    "unclosed": "{% for a in messages %}",
    "unknown filter": "{{ messages | shell }}",
    "too long": "x" * (MAX_TEMPLATE + 1),
    "constant folding": "{{ 'x' * 999999 * 999999 }}",
    "nested comprehension by filters": "{{ range(99999) | map('string') | map('length') | list }}"
    * 100,
    "block set": "{% set a %}{% for b in range(90000) %}{{ 'x' * 900000 }}{% endfor %}{% endset %}",
    "block set of words": "{% set a %}{% for b in range(90000) %}"
    + "x" * 60_000
    + "{% endfor %}{% endset %}",
    "macro": "{% macro f() %}{% for b in range(90000) %}"
    + "x" * 60_000
    + "{% endfor %}{% endmacro %}{{ f() | length }}",
    "doubled by a set block": "{% set n = namespace(t='x' * 1000) %}{% for a in range(60) %}"
    "{% set b %}{{ n.t }}{{ n.t }}{% endset %}{% set n.t = b %}{% endfor %}{{ n.t | length }}",
    "tree of lists": "{% set n = namespace(t=[1]) %}{% for a in range(60) %}"
    "{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.t }}",
    "tree to text": "{% set n = namespace(t=[1]) %}{% for a in range(60) %}"
    "{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.t | string | length }}",
    "tree to JSON": "{% set n = namespace(t=[1]) %}{% for a in range(60) %}"
    "{% set n.t = {'a': n.t, 'b': n.t} %}{% endfor %}{{ n.t | tojson | length }}",
    "trees compared": "{% set n = namespace(a=[1], b=[1]) %}{% for a in range(60) %}"
    "{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
    "tree hashed": "{% set n = namespace(t=(1,)) %}{% for a in range(60) %}"
    "{% set n.t = (n.t, n.t) %}{% endfor %}{{ {n.t: 1} | length }}",
    "namespace printed": "{% set n = namespace(t=[1]) %}{% for a in range(60) %}"
    "{% set n.t = [n.t, n.t] %}{% endfor %}{{ n }}",
    "namespace of itself": "{% set n = namespace() %}{% set n.a = n %}{{ n }}{{ n | string }}",
    "tree of names": "{% set a0 = [1] %}"
    + "".join(f"{{% set a{n + 1} = [a{n}, a{n}] %}}" for n in range(60))
    + "{{ a60 == a59 }}",
    "tree of namespaces": "{% set a0 = namespace(x='x' * 900000) %}"
    + "".join(f"{{% set a{n + 1} = namespace(x=a{n}, y=a{n}) %}}" for n in range(60))
    + "{{ a60 }}",
    "slow search": "{% set t = 'x' * 900000 %}{% for a in range(9999) %}{{ 'y' in t }}{% endfor %}",
    "slow method": "{% set t = 'x' * 900000 %}{% for a in range(90000) %}{{ t.upper() | length }}"
    "{% endfor %}",
    "constant work": "{{ 'x'" + "|replace('x', 'xx')" * 19 + "|upper|lower" * 1500 + "}}",
    "bytes": "{{ 'x'.encode() * 999999999 }}",
    "to_bytes": "{{ (1).to_bytes(1999999999, 'big') }}",
    "blocks too deep for Python": "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
    "ifs too deep for Python": "{% if 1 %}" * 2500 + "{% endif %}" * 2500,
    "sum": "{{ range(90000) | map('string') | sum(start='') }}",
    "unique": "{{ range(99999) | list | unique | list | length }}" * 100,
}


#: these do no harm: they render to next to nothing
HARMLESS = {"range to list", "globals"}


def outcomes(names: list[str]) -> dict[str, tuple[str, float]]:
    """name -> (outcome, seconds of processor time); run in a child that may be killed."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
        resource.setrlimit(resource.RLIMIT_CPU, (90, 90))
    return {name: outcome(HOSTILE[name]) for name in names}


def outcome(template: str) -> tuple[str, float]:
    start = time.process_time()
    try:
        result = f"rendered {len(rendered(template, USER))}"
    except ModelFileError:
        result = "refused"
    except (MemoryError, TemplateRefusedError) as error:
        result = repr(error)
    return result, time.process_time() - start


@pytest.fixture(scope="module")
def hostile_outcomes() -> dict[str, tuple[str, float]]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(outcomes, list(HOSTILE)).result()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_end_soon(
    hostile_outcomes: dict[str, tuple[str, float]], name: str
) -> None:
    result, seconds = hostile_outcomes[name]
    assert seconds < 2
    if name in HARMLESS:
        assert result.startswith("rendered ")
        assert int(result.split()[1]) <= 1000
    else:
        assert result == "refused"


ORDINARY = {
    "{% for name, value in {'a': 1, 'b': [2, 3]}.items() %}{{ name }}{{ value }};{% endfor %}": (
        "a1;b[2, 3];"
    ),
    "{% set a, b = 1, (2, 3) %}{{ a ~ b[1] ~ 'x' }}": "13x",
    "{% macro f(x, y='!') %}<{{ x }}{{ y }}>{% endmacro %}{{ f(1) }}{{ f(2, y='?') }}": "<1!><2?>",
    "{% set t %}{{ messages[0].role }}: {{ messages[0]['content'][:2] }}{% endset %}"
    "{{ t | upper }}": ("USER: HI"),
    "{{ {'q': '<é>&', 'n': [1, none, true]} | tojson }}": '{"q": "<é>&", "n": [1, null, true]}',
    "{{ ['a', 'b'] | join(', ') }}{{ '-'.join(['c', 'd']) }}": "a, bc-d",
    "{{ 'a b'.split()[-1].strip('b') or 'none' }}{{ ' x '.strip() * 3 }}": "nonexxx",
    "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.found = true %}{% break %}{% endif %}{% endfor %}{{ ns.found }}": "True",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content')"
    " | list | length }}": ("1"),
    "{{ messages[0].missing is defined }}{{ tools is none }}": "FalseTrue",
    "{{ 'a-b'.replace('-', '+') }}{{ 'a-b' | replace('-', '++') }}": "a+ba++b",
}


@pytest.mark.parametrize("template", ORDINARY)
def test_what_chat_templates_use_works(template: str) -> None:
    assert rendered(template, USER) == ORDINARY[template]


def test_the_trace_function_of_others_comes_back() -> None:
    seen = []

    def trace(frame: Any, event: str, argument: Any) -> None:
        seen.append(event)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        rendered(CHATML, USER)
        assert sys.gettrace() is trace
        with pytest.raises(ModelFileError):
            rendered(HOSTILE["nested loops"], USER)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert seen


def test_threads_have_budgets_of_their_own() -> None:
    before = threading.gettrace()
    with ThreadPoolExecutor(8) as pool:
        hostile = [pool.submit(outcome, HOSTILE["nested loops"]) for _ in range(4)]
        good = [pool.submit(rendered, CHATML, SYSTEM, USER) for _ in range(40)]
    assert {future.result()[0] for future in hostile} == {"refused"}
    assert {future.result() for future in good} == {FAMILIES["chatml"][1]}
    assert threading.gettrace() is before

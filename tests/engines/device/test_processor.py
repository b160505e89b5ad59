"""Readers of what Linux and Windows tell of their processors, on texts and tables of both."""

import struct
from pathlib import Path

import pytest

from edgeslm.engines.device import processor

AMD = """processor\t: 0
model name\t: AMD EPYC
flags\t\t: fpu pni ssse3 avx avx2 fma f16c hypervisor

processor\t: 1
model name\t: another
"""


def test_cpuinfo_is_of_the_first_processor():
    fields = processor.parse_cpuinfo(AMD)
    assert fields["model name"] == "AMD EPYC"
    assert processor.relevant(fields["flags"].split()) == (
        "sse3",
        "ssse3",
        "avx",
        "f16c",
        "fma",
        "avx2",
    )


def test_cpuinfo_without_any_field():
    assert processor.parse_cpuinfo("") == {}


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8\n", [0, 1, 2, 3, 8]), ("5", [5]), ("0-1,4-5", [0, 1, 4, 5])]
)
def test_cpu_list(text, cpus):
    assert processor.parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["", "a-b", "0,,1"])
def test_cpu_list_of_another_form(text):
    with pytest.raises(ValueError):
        processor.parse_cpu_list(text)


def test_intel_hybrid(tmp_path: Path):
    (tmp_path / "cpu_core").mkdir()
    (tmp_path / "cpu_core" / "cpus").write_text("0-7\n")
    assert processor.linux_performance_cpus(tmp_path) == frozenset(range(8))


def capacities(folder: Path, *values: int) -> None:
    for number, value in enumerate(values):
        cpu = folder / "system" / "cpu" / f"cpu{number}"
        cpu.mkdir(parents=True)
        (cpu / "cpu_capacity").write_text(f"{value}\n")


def test_arm_with_three_kinds_leaves_out_the_slowest(tmp_path: Path):
    capacities(tmp_path, 325, 325, 325, 325, 844, 844, 844, 1024)
    assert processor.linux_performance_cpus(tmp_path) == {4, 5, 6, 7}


def test_all_alike_is_none(tmp_path: Path):
    capacities(tmp_path, 1024, 1024)
    assert processor.linux_performance_cpus(tmp_path) is None
    assert processor.linux_performance_cpus(tmp_path / "absent") is None


def test_threads_of_a_core(tmp_path: Path):
    for cpu, siblings in {0: "0-1\n", 4: "4\n", 5: "odd\n"}.items():
        topology = tmp_path / "system" / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings)
    told = [processor.linux_threads_of_core(tmp_path, cpu) for cpu in (0, 4, 5, 6)]
    assert told == [2, 1, None, None]


def cpu_set(index: int, efficiency: int, group: int = 0, core: int | None = None) -> bytes:
    """One SYSTEM_CPU_SET_INFORMATION of 32 bytes."""
    head = struct.pack("<IIIH", 32, 0, 256 + index, group)
    return head + bytes([index, index if core is None else core, 0, 0, efficiency, 0]) + bytes(12)


def test_windows_cpu_sets():
    hybrid = b"".join(cpu_set(i, efficiency=1 if i < 4 else 0) for i in range(12))
    assert processor.parse_cpu_sets(hybrid) == {0, 1, 2, 3}
    assert processor.parse_cpu_sets(hybrid + cpu_set(0, 9, group=1)) == {0, 1, 2, 3}
    assert processor.parse_cpu_sets(cpu_set(0, 0) + cpu_set(1, 0)) is None
    assert processor.parse_cpu_sets(b"") is None
    assert processor.parse_cpu_sets(bytes(64)) is None  # a size of zero must not loop
    assert processor.parse_cpu_sets(hybrid[:45]) is None  # cut within the second


def test_windows_threads_of_a_core():
    sets = b"".join(cpu_set(i, efficiency=1, core=i - i % 2) for i in range(4)) + cpu_set(4, 0)
    sets += cpu_set(4, 0, group=1)
    assert [processor.parse_threads_of_core(sets, cpu) for cpu in (0, 3, 4, 5)] == [2, 2, 1, None]
    assert processor.parse_threads_of_core(b"", 0) is None


def test_this_machine_names_nothing_unknown():
    assert set(processor.instruction_sets()) <= set(processor._RELEVANT)
    assert processor.model_name() != ""

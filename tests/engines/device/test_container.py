"""The limits of a container, over the layouts that Docker, Kubernetes and plain systems have."""

from pathlib import Path

import pytest

from edgeslm.engines.device import container as cgroup


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc/self whose mounts point into ``tmp_path``."""
    (tmp_path / "proc").mkdir()
    return tmp_path / "proc"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def version_2(proc: Path, group: str = "/app", root: str = "/") -> Path:
    mount = proc.parent / "cgroup"
    mount.mkdir()
    (proc / "cgroup").write_text(f"0::{group}\n")
    (proc / "mountinfo").write_text(
        "22 1 0:20 / /proc rw - proc proc rw\n"
        f"31 23 0:28 {root} {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    return mount


def version_1(proc: Path, group: str, root: str) -> Path:
    (proc / "cgroup").write_text(f"4:memory:{group}\n1:cpu,cpuacct:{group}\n0::/\n")
    folder = proc.parent / "v1"
    (proc / "mountinfo").write_text(
        f"32 31 0:29 {root} {folder}/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
        f"35 31 0:32 {root} {folder}/memory rw,relatime - cgroup cgroup rw,memory\n"
    )
    return folder


def test_no_container_has_no_limits(proc):
    assert cgroup.cpu_quota(proc) is None
    assert cgroup.memory_limit(proc) is None
    assert cgroup.memory_room(proc) is None


def test_version_2_takes_the_tightest_group_on_the_way_up(proc):
    mount = version_2(proc, "/pod/app")
    write(mount / "pod", cpu__max="150000 100000\n", memory__max="1000\n", memory__current="900\n")
    write(
        mount / "pod" / "app",
        cpu__max="max 100000\n",
        memory__max="800\n",
        memory__current="500\n",
        memory__stat="anon 400\nfile 90\ninactive_file 60\n",
    )
    assert cgroup.cpu_quota(proc) == 1.5
    assert cgroup.memory_limit(proc) == 800
    assert cgroup.memory_room(proc) == 100  # of the pod; the app alone has 360


def test_version_2_unlimited(proc):
    mount = version_2(proc)
    write(mount / "app", cpu__max="max 100000\n", memory__max="max\n", memory__current="5\n")
    assert cgroup.cpu_quota(proc) is None
    assert cgroup.memory_limit(proc) is None
    assert cgroup.memory_room(proc) is None


def test_room_is_never_negative(proc):
    mount = version_2(proc)
    write(mount / "app", memory__max="100\n", memory__current="130\n")
    assert cgroup.memory_room(proc) == 0


@pytest.mark.parametrize("root", ["/docker/abc", "/"])
def test_version_1_in_docker(proc, root):
    """Without a namespace of its own a container sees the host's path and its group as the root."""
    folder = version_1(proc, "/docker/abc", root)
    inside = "" if root != "/" else "docker/abc"
    write(folder / "cpu" / inside, cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    write(
        folder / "memory" / inside,
        memory__limit_in_bytes="1000\n",
        memory__usage_in_bytes="700\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 200\n",
    )
    assert cgroup.cpu_quota(proc) == 2.0
    assert cgroup.memory_limit(proc) == 1000
    assert cgroup.memory_room(proc) == 500


def test_version_1_unlimited(proc):
    folder = version_1(proc, "/", "/")
    write(folder / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(folder / "memory", memory__limit_in_bytes="9223372036854771712\n")
    assert cgroup.cpu_quota(proc) is None
    assert cgroup.memory_limit(proc) is None


def test_a_path_outside_of_the_mount_falls_back_to_what_is_mounted(proc):
    mount = version_2(proc, "/host/other", root="/host/mine")
    write(mount, cpu__max="50000 100000\n", memory__max="77\n", memory__current="7\n")
    assert cgroup.cpu_quota(proc) == 0.5
    assert cgroup.memory_room(proc) == 70

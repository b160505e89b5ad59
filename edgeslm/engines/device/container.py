"""The processor and memory limits that a Linux container sets, by cgroups of version 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self")
#: version 1 says "no limit" with the largest multiple of a page
_UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where a hierarchy is mounted: ``root`` is the group that appears at ``point``."""

    point: Path
    root: str
    kind: str
    controllers: frozenset[str]


def cpu_quota(proc: Path = _PROC) -> float | None:
    """How many cores' worth of time this process may use, None where nothing limits it."""
    quotas = []
    for folder in _groups("cpu", proc):
        if (folder / "cpu.max").exists():
            quota, period = [*_words(folder / "cpu.max"), "max", "max"][:2]
        else:
            quota = _word(folder / "cpu.cfs_quota_us")
            period = _word(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def memory_limit(proc: Path = _PROC) -> int | None:
    """The most memory in bytes that this process' container may use, None without a limit."""
    return min((limit for _, limit in _limits(proc)), default=None)


def memory_room(proc: Path = _PROC) -> int | None:
    """Bytes left below the container's memory limit, None without a limit.

    File pages that the kernel would drop first count as free, as they do outside a container.
    """
    rooms = []
    for folder, limit in _limits(proc):
        used = _word(folder / "memory.current") or _word(folder / "memory.usage_in_bytes")
        if used.isdigit():
            rooms.append(max(0, limit - int(used) + _inactive_file(folder)))
    return min(rooms, default=None)


def _limits(proc: Path) -> Iterator[tuple[Path, int]]:
    for folder in _groups("memory", proc):
        limit = _word(folder / "memory.max") or _word(folder / "memory.limit_in_bytes")
        if limit.isdigit() and int(limit) < _UNLIMITED:
            yield folder, int(limit)


def _inactive_file(folder: Path) -> int:
    """Version 1 has the sum over the groups below under another name than version 2."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    stat = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(stat.get("total_inactive_file") or stat.get("inactive_file") or 0)


def _groups(controller: str, proc: Path) -> Iterator[Path]:
    """The folders of this process' group and of all groups above it that can be seen here."""
    paths = dict(_memberships(proc))
    for mount in _mounts(proc):
        if mount.kind == "cgroup2":
            path = paths.get("")
        else:
            path = paths.get(controller) if controller in mount.controllers else None
        if path is None:
            continue
        inside = PurePosixPath(path)
        if inside.is_relative_to(mount.root):
            inside = inside.relative_to(mount.root)
        else:  # the host's path, seen from within the container
            inside = PurePosixPath()
        folder = mount.point / str(inside).lstrip("/")
        yield folder
        while folder != mount.point:
            folder = folder.parent
            yield folder


def _memberships(proc: Path) -> Iterator[tuple[str, str]]:
    """Controller and group of each line ``4:memory:/group``; version 2 has no controller name."""
    for line in _lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _mounts(proc: Path) -> Iterator[_Mount]:
    for line in _lines(proc / "mountinfo"):
        left, _, right = line.partition(" - ")
        kind, *rest = right.split()
        if kind in ("cgroup", "cgroup2") and len(rest) > 1:
            root, point = left.split()[3:5]
            yield _Mount(Path(point), root, kind, frozenset(rest[1].split(",")))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []  # not Linux, or /proc is not mounted


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _word(file: Path) -> str:
    """The first word of a file, empty where there is none."""
    return next(iter(_words(file)), "")

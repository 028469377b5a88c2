"""Where the limits of this process's container are written down: the directories of its control groups."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def own_cgroups(controller: str, root: Path = ROOT, own: Path = OWN) -> list[Path]:
    """The directories of this process's cgroups (v2, and v1 of one controller) and all above them.

    The tightest limit on the way up counts. A container may see its own cgroup mounted at ``root`` while ``own``
    still names it as the host does, so the directories that are there need not be those that are named, and not
    all that are returned need exist.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    directories = [root, root / controller]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        directories.append(base)
        relative = path.strip("/")
        while relative:
            directories.append(base / relative)
            relative = relative.rpartition("/")[0]
    return directories

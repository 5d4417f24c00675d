"""Two pods on one machine: the container of a Job object, each with host names, host name and /runs of its own.

Each pod is a mount and host-name namespace (`unshare`), so its command runs unchanged.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[3]
SIGTERM_CAUGHT = 1 << (signal.SIGTERM - 1)  # in the mask of /proc: the training loop has begun

# /mnt becomes the pod's root: all that is in ours, with other /runs and /etc/hosts.
START = r"""
set -e
mount -t tmpfs root /mnt
for path in /*; do
  if [ "$path" = /mnt ]; then continue; fi
  if [ -L "$path" ]; then cp -P "$path" "/mnt$path"; continue; fi
  if [ -d "$path" ]; then mkdir "/mnt$path"; mount --rbind "$path" "/mnt$path"; fi
done
mkdir -p /mnt/runs
mount --bind "$POD_RUNS" /mnt/runs
mount --bind "$POD_HOSTS" /mnt/etc/hosts
hostname "$POD_NAME"
exec chroot /mnt env -C "$POD_CODE" "$@"
"""
NAMESPACES = ["unshare", "--mount", "--uts"] + ([] if os.getuid() == 0 else ["--user", "--map-root-user"])


def can_start() -> bool:
    """Whether this machine lets us make namespaces."""
    command = [*NAMESPACES, "sh", "-c", "mount -t tmpfs root /mnt"]
    return sys.platform == "linux" and subprocess.run(command, capture_output=True).returncode == 0


class Pod:
    """Pod `index` of an Indexed Job object; its log is `log`."""

    def __init__(self, job: dict, index: int, folder: Path):
        template = job["spec"]["template"]["spec"]
        container = template["containers"][0]
        self.log = folder / f"{index}-{time.monotonic_ns()}.log"
        runs = folder / "runs"
        runs.mkdir(exist_ok=True)
        environment = os.environ | {each["name"]: each["value"] for each in container["env"]}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        environment |= {"JOB_COMPLETION_INDEX": str(index), "POD_NAME": f"{job['metadata']['name']}-{index}"}
        environment |= {"POD_RUNS": str(runs), "POD_HOSTS": str(hosts(job, folder)), "POD_CODE": str(ROOT)}
        command = [*NAMESPACES, "sh", "-c", START, "pod", *container["command"], *container.get("args", [])]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def wait_until_begun(self, seconds: float = 300) -> None:
        until = time.monotonic() + seconds
        while not any(map(saves_on_sigterm, psutil.Process(self.process.pid).children(recursive=True))):
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)

    def wait(self, seconds: float = 300) -> int:
        return self.process.wait(seconds)

    def kill(self) -> None:
        """All its processes at once, as when its node is lost."""
        if self.process.poll() is None:
            processes = [psutil.Process(self.process.pid)]
            processes += processes[0].children(recursive=True)
            for process in processes:
                process.kill()
            self.process.wait()


def saves_on_sigterm(process: psutil.Process) -> bool:
    """Whether it is a training process within the training loop."""
    try:
        command = process.cmdline()
        if "training.launch.worker" not in command or "torch.distributed.run" in command:
            return False
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) & SIGTERM_CAUGHT)


def hosts(job: dict, folder: Path) -> Path:
    """What the headless Service answers: an address for each pod, under the names that the Job gives them."""
    name, subdomain = job["metadata"]["name"], job["spec"]["template"]["spec"]["subdomain"]
    names = [f"{name}-{index}" for index in range(job["spec"]["completions"])]
    lines = [f"127.0.0.{number} {pod}.{subdomain} {pod}" for number, pod in enumerate(names, start=1)]
    path = folder / "hosts"
    path.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
    return path

"""Kernels for grading that have PyTorch from their start: forks of a process that has imported it.

A notebook of an assignment runs for a fraction of a second, after two in which PyTorch is imported. A class of 20
with 21 assignments would wait for that 420 times. Windows has no fork; there kernels start as always.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

# What notebooks import, and nbgrader's own program, which each fork looks at again.
PRELOADED = ["ipykernel.kernelapp", "detr_mini.classroom.checks", "detr_mini.matcher", "torchvision.ops"]
PRELOADED += ["nbgrader.apps.nbgraderapp"]


def use() -> None:
    """From now on, nbgrader's autograding starts such kernels in this process; all else starts as before."""
    from jupyter_client.provisioning import local_provisioner

    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    launch = local_provisioner.launch_kernel

    def launch_kernel(cmd: list[str], env: dict[str, str] | None = None, **rest: Any) -> Any:
        python = cmd[1:3] == ["-m", "ipykernel_launcher"]
        if python and env is not None and env.get("NBGRADER_EXECUTION") == "autograde":
            return Forked(cmd[3:], env, rest.get("cwd"))
        return launch(cmd, env=env, **rest)

    local_provisioner.launch_kernel = launch_kernel  # type: ignore[assignment]


class Forked:
    """A kernel, with the part of ``subprocess.Popen`` that Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], cwd: str | None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, list(arguments), dict(env), cwd))
        self._process.start()
        there.close()
        here.recv()  # it leads its own group of processes: signals to the group reach nothing else
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None and self.pid is not None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _serve(ready: Connection, arguments: list[str], env: dict[str, str], cwd: str | None) -> None:
    """In the fork: become the kernel."""
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    ready.send(None)
    ready.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd or ".")
    sys.argv, sys.path[0] = ["ipykernel_launcher", *arguments], ""
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it ends with its parent, which is not nbgrader
    IPKernelApp.launch_instance([*arguments, parent, "--IPKernelApp.log_level=40"])

"""Becomes another program that the kernel kills when its parent dies, however the parent dies.

    python -I -S guard.py <pid of the parent> <uid:gid, or -> <program> <arguments …>

A script rather than a `preexec_fn`: that runs between fork and exec, where a process with threads
may deadlock. It comes last before the program, because a change of user or user namespace clears
the request; so it also changes the user. Linux only; elsewhere a killed parent leaves its servers
running.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_START = 127
AS_IT_IS = "-"


def die_with(parent: int) -> None:
    """Asks the kernel for SIGKILL at the parent's death; ends at once if that is past already."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def become(identity: str) -> None:
    """Gives up being root, for good."""
    if identity == AS_IT_IS:
        return
    user, group = map(int, identity.split(":"))
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def main(arguments: list[str]) -> None:
    parent, identity, command = int(arguments[0]), arguments[1], arguments[2:]
    become(identity)
    die_with(parent)
    # Python ignores these two; a program expects them as they were.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main(sys.argv[1:])

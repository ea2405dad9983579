#!/usr/bin/env python3
"""Plays the service manager for one torc-server: it must send READY=1 once it answers, WATCHDOG=1 while it runs, and
STOPPING=1 after SIGTERM, and exit with 0. The process runs under the kernel's counterpart of MemoryDenyWriteExecute.

Usage: notify_check.py TORC_SERVER PORT
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile

LIMIT_S = 20
WATCHDOG_S = 2
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


class Broken(Exception):
    """The server did not do what the unit file relies on."""


def await_message(notify, wanted):
    """Takes messages until one has the line `wanted`."""
    seen = []
    try:
        while True:
            lines = notify.recv(4096).decode().splitlines()
            seen += lines
            if wanted in lines:
                return
    except TimeoutError:
        raise Broken(f"no {wanted} within {LIMIT_S} s; seen: {seen}") from None


def deny_write_execute():
    # Kernels before 6.3 do not know it; the rest of the check stands without.
    ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)


def ping(port):
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as client:
        client.sendall(b"*1\r\n$4\r\nPING\r\n")
        reply = client.recv(64)
    if reply != b"+PONG\r\n":
        raise Broken(f"READY=1 was sent, but PING got {reply!r}")


def watch(server, notify, port):
    await_message(notify, "READY=1")
    ping(port)
    await_message(notify, "WATCHDOG=1")
    server.send_signal(signal.SIGTERM)
    await_message(notify, "STOPPING=1")
    status = server.wait(timeout=LIMIT_S)
    if status != 0:
        raise Broken(f"exit status {status} after SIGTERM")


def check(binary, port, address, where):
    """One life of the server with NOTIFY_SOCKET at `where`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(LIMIT_S)
        environment = dict(os.environ, NOTIFY_SOCKET=where, WATCHDOG_USEC=str(WATCHDOG_S * 1_000_000))
        environment.pop("WATCHDOG_PID", None)
        command = [binary, "--port", str(port), "--appendonly", "no", "--save", ""]
        server = subprocess.Popen(command, env=environment, preexec_fn=deny_write_execute)
        try:
            watch(server, notify, port)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


def main():
    binary, port = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "notify")
        # A path, as systemd uses; the sd-notify crate knows no abstract names.
        check(binary, port, path, path)
    print("notify: READY=1, WATCHDOG=1, STOPPING=1, exit 0")


if __name__ == "__main__":
    try:
        main()
    except Broken as problem:
        sys.exit(f"notify: {problem}")

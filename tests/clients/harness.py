"""Starts a server on a free port, runs the test functions of a module against it, and ends it by its process id."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server: `port`, and `socket` for the path of its unix socket."""

    def __init__(self, program, shards):
        self.dir = tempfile.mkdtemp(prefix="torc-clients-")
        self.port = free_port()
        self.socket = os.path.join(self.dir, "socket")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket]
        # A peer standing in for Torc has no shards.
        if os.path.basename(program).startswith("torc-server"):
            options += ["--shards", str(shards)]
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.child = subprocess.Popen(
            [program, *options], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def wait(self):
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self.child.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=2) as link:
                    link.sendall(b"PING\r\n")
                    answer = link.recv(64)
                    if answer and not answer.startswith(b"-LOADING"):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        sys.exit("the server does not answer:\n" + self.text())

    def text(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as log:
            return log.read()

    def end(self):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def main(tests):
    """Runs every `test_…` function of `tests` (a module's globals) with the server."""
    program, shards = sys.argv[1], int(sys.argv[2])
    server = Server(program, shards)
    server.wait()
    passed = failed = 0
    try:
        for name, test in list(tests.items()):
            if not name.startswith("test_"):
                continue
            try:
                test(server)
                passed += 1
            except Exception:
                failed += 1
                print(f"FAILED {name}")
                traceback.print_exc(file=sys.stdout)
        if server.child.poll() is not None:
            failed += 1
            print("the server ended:\n" + server.text())
    finally:
        server.end()
    print(f"{passed} tests passed, {failed} failed")
    sys.exit(failed != 0)

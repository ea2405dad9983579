"""redis-cli and redis-benchmark against the server."""

import re
import subprocess

import harness


def cli(server, *words, text=None):
    run = subprocess.run(
        ["redis-cli", "-p", str(server.port), *words],
        input=text, capture_output=True, text=True, timeout=60, stdin=None if text is not None else subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_commands(server):
    cli(server, "flushall")
    assert cli(server, "set", "a", "1") == "OK"
    assert cli(server, "-3", "get", "a") == "1"
    assert cli(server, "--json", "-3", "mget", "a", "b") == '["1",null]'
    assert cli(server, "-u", f"redis://127.0.0.1:{server.port}/2", "dbsize") == "0"
    assert cli(server, "-s", server.socket, "ping") == "PONG"
    assert cli(server, "nosuch").startswith("ERR unknown command")
    assert cli(server, "-x", "set", "piped", text="from standard input") == "OK"
    assert cli(server, "get", "piped") == "from standard input"
    assert cli(server, "-r", "5", "incr", "count").splitlines() == ["1", "2", "3", "4", "5"]


def test_many_lines(server):
    cli(server, "flushall")
    lines = "".join(f"SET line:{number} {number}\n" for number in range(500)) + "MULTI\nINCR a\nINCR a\nEXEC\nDBSIZE\n"
    assert cli(server, text=lines).splitlines()[-1] == "501"


def test_pipe(server):
    cli(server, "flushall")
    lines = "".join(f"*3\r\n$3\r\nSET\r\n${len(key)}\r\n{key}\r\n$1\r\nx\r\n" for key in map("key:{}".format, range(20_000)))
    report = cli(server, "--pipe", text=lines)
    assert "errors: 0, replies: 20000" in report, report
    assert cli(server, "dbsize") == "20000"


def test_scan(server):
    cli(server, "flushall")
    cli(server, "mset", *(word for number in range(300) for word in (f"key:{number}", "value")))
    assert len(set(cli(server, "--scan").split())) == 300
    assert len(set(cli(server, "--scan", "--pattern", "key:1?").split())) == 10


def test_bigkeys(server):
    cli(server, "flushall")
    cli(server, "set", "big", "x" * 1000)
    cli(server, "mset", "a", "1", "b", "22")
    report = cli(server, "--bigkeys")
    assert re.search(r'Biggest string found .*"big"\W+ has 1000 bytes', report), report
    report = cli(server, "--memkeys")
    assert "big" in report, report


def test_benchmark(server):
    cli(server, "flushall")
    runs = [
        ["-t", "ping,set,get,incr,mset", "-n", "20000", "-c", "20"],
        ["-t", "set,get", "-n", "100000", "-c", "50", "-P", "32", "-r", "10000"],
        ["-t", "set,get", "-n", "20000", "-c", "20", "-3"],
        ["-n", "20000", "-c", "20", "append", "key:__rand_int__", "x"],
    ]
    for words in runs:
        run = subprocess.run(
            ["redis-benchmark", "-p", str(server.port), "--csv", *words],
            capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "error" not in (run.stdout + run.stderr).lower(), run.stdout + run.stderr
        rates = re.findall(r'^"[^"]+","([0-9.]+)"', run.stdout, re.MULTILINE)
        assert rates and all(float(rate) > 100 for rate in rates), run.stdout


harness.main(globals())

"""redis-py against the server: both protocols, pipelines, transactions, WATCH, scans, pools, the unix socket."""

import asyncio
import threading
import time

import redis
import redis.asyncio
import redis.exceptions

import harness


def connect(server, **options):
    client = redis.Redis(port=server.port, **options)
    client.flushall()
    return client


def both(server, **options):
    """A client of each protocol in turn, each on an empty keyspace."""
    for protocol in (2, 3):
        yield connect(server, protocol=protocol, **options)


def raises(kind, call, *args, **options):
    try:
        call(*args, **options)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def test_strings(server):
    for client in both(server, decode_responses=True):
        assert client.ping()
        assert client.set("a", "1") and client.get("a") == "1"
        assert client.set("a", "2", nx=True) is None
        assert client.set("a", "2", get=True, xx=True) == "1"
        assert client.incrby("a", 40) == 42 and client.decr("a") == 41
        assert client.incrbyfloat("a", 0.5) == 41.5
        assert client.append("b", "hello") == 5 and client.setrange("b", 1, "i") == 5
        assert client.getrange("b", 0, 1) == "hi" and client.strlen("b") == 5
        assert client.mset({"x": 1, "y": 2, "z": 3}) and client.mget("x", "missing", "z") == ["1", None, "3"]
        assert client.msetnx({"x": 9, "w": 9}) is False
        assert client.getset("x", "7") == "1" and client.getdel("x") == "7" and client.exists("x") == 0
        assert client.getex("y", ex=100) == "2" and 0 < client.ttl("y") <= 100
        assert client.lcs("b", "z") is not None
        assert client.execute_command("SETEX", "e", 100, "v")
        assert client.execute_command("PSETEX", "p", 100000, "v") and client.ttl("p") > 50


def test_binary_and_big_values(server):
    for client in both(server):
        key, value = bytes(range(256)), bytes(range(256)) * 40_000
        assert client.set(key, value) and client.get(key) == value
        assert client.set("", "") and client.get("") == b""


def test_generic(server):
    for client in both(server, decode_responses=True):
        client.mset({f"key:{number}": number for number in range(100)})
        assert client.dbsize() == 100 and len(client.keys("key:*")) == 100
        assert client.type("key:1") == "string" and client.type("missing") == "none"
        assert client.expire("key:1", 100) and client.persist("key:1") and client.ttl("key:1") == -1
        assert client.expireat("key:1", int(time.time()) + 1000) and client.expiretime("key:1") > time.time()
        assert client.pexpire("key:2", 1) and wait_until(lambda: client.exists("key:2") == 0)
        assert client.rename("key:3", "other") and client.renamenx("key:4", "other") is False
        assert client.copy("other", "third") and client.copy("other", "third") is False
        assert client.copy("other", "third", replace=True) and client.touch("other", "third", "missing") == 2
        assert client.unlink("other", "third") == 2 and client.delete("key:5", "key:6", "missing") == 2
        assert client.randomkey().startswith("key:") and client.object("encoding", "key:7") == "int"
        assert client.move("key:8", 3) and client.exists("key:8") == 0
        assert client.memory_usage("key:9") > 0
        raises(redis.exceptions.ResponseError, client.rename, "missing", "x")


def wait_until(probe, seconds=5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if probe():
            return True
        time.sleep(0.005)
    return False


def test_scan_iter(server):
    for client in both(server, decode_responses=True):
        client.mset({f"key:{number}": number for number in range(2000)})
        assert {f"key:{number}" for number in range(2000)} == set(client.scan_iter(count=7))
        assert len(set(client.scan_iter(match="key:1??", count=100))) == 100
        assert list(client.scan_iter(_type="list")) == []


def test_pipelines_and_transactions(server):
    for client in both(server, decode_responses=True):
        with client.pipeline(transaction=False) as pipe:
            for number in range(1000):
                pipe.set(f"key:{number}", number)
            for number in range(1000):
                pipe.get(f"key:{number}")
            replies = pipe.execute()
        assert replies == [True] * 1000 + [str(number) for number in range(1000)]
        with client.pipeline() as pipe:
            replies = pipe.set("a", "text").incr("b").mget("a", "b").execute()
        assert replies == [True, 1, ["text", "1"]]
        with client.pipeline() as pipe:
            replies = pipe.incr("a").incr("b").execute(raise_on_error=False)
        assert isinstance(replies[0], redis.exceptions.ResponseError) and replies[1] == 2
        with client.pipeline() as pipe:
            pipe.execute_command("SET", "only-key")
            raises(redis.exceptions.ResponseError, pipe.execute)


def test_watch(server):
    for client in both(server, decode_responses=True):
        client.set("count", 0)

        def add(count):
            with redis.Redis(port=server.port, decode_responses=True) as own:
                for _ in range(count):
                    own.transaction(lambda pipe: bump(pipe), "count")

        def bump(pipe):
            value = int(pipe.get("count"))
            pipe.multi()
            pipe.set("count", value + 1)

        threads = [threading.Thread(target=add, args=(100,)) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert client.get("count") == "400"

        with client.pipeline() as pipe:
            pipe.watch("count")
            client.set("count", "changed")
            pipe.multi()
            pipe.get("count")
            raises(redis.exceptions.WatchError, pipe.execute)


def test_pool_of_threads(server):
    pool = redis.ConnectionPool(port=server.port, max_connections=16, protocol=3)
    client = redis.Redis(connection_pool=pool)
    client.flushall()

    def work(part):
        for number in range(200):
            client.set(f"{part}:{number}", number)
            assert client.get(f"{part}:{number}") == str(number).encode()

    threads = [threading.Thread(target=work, args=(part,)) for part in range(10)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert client.dbsize() == 2000
    pool.disconnect()


def test_unix_socket(server):
    client = redis.Redis(unix_socket_path=server.socket)
    assert client.ping() and client.set("a", "1") and client.get("a") == b"1"


def test_clients(server):
    client = connect(server, client_name="first", decode_responses=True)
    other = redis.Redis(port=server.port, client_name="second", decode_responses=True)
    identity = other.client_id()
    names = {entry["name"] for entry in client.client_list()}
    assert {"first", "second"} <= names
    [entry] = client.client_list(client_id=[identity])
    assert entry["name"] == "second" and entry["db"] == "0" and entry["cmd"] == "client|id"
    assert client.client_info()["name"] == "first" and client.client_getname() == "first"
    assert client.client_kill_filter(_id=identity) == 1
    assert other.client_id() != identity, "redis-py connects again"
    assert client.client_no_evict("ON") and client.client_setinfo("LIB-NAME", "mine")


def test_databases(server):
    first = connect(server, decode_responses=True)
    second = redis.Redis(port=server.port, db=1, decode_responses=True)
    first.set("a", "zero")
    second.set("a", "one")
    assert first.get("a") == "zero" and first.swapdb(0, 1) and first.get("a") == "one"
    assert second.flushdb() and first.dbsize() == 1 and second.dbsize() == 0


def test_server(server):
    for client in both(server, decode_responses=True):
        info = client.info()
        assert info["tcp_port"] == server.port and info["redis_mode"] == "standalone"
        assert "cmdstat_flushall" in client.info("commandstats")
        assert client.config_get("maxmemory") == {"maxmemory": "0"} and client.config_set("maxmemory", "1gb")
        assert client.config_get("maxmemory*")["maxmemory"] == str(1 << 30) and client.config_set("maxmemory", 0)
        assert client.config_resetstat() and client.slowlog_reset()
        client.config_set("slowlog-log-slower-than", 0)
        client.get("slow")
        client.config_set("slowlog-log-slower-than", 10000)
        assert any("GET slow" in str(entry["command"]) for entry in client.slowlog_get())
        assert client.slowlog_len() > 0 and abs(client.time()[0] - time.time()) < 5
        command = client.command()["get"]
        assert command["arity"] == 2 and "readonly" in command["flags"] and command["first_key_pos"] == 1
        assert client.command_count() >= 60 and "get" in client.command_list()
        assert client.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
        assert client.echo("hi") == "hi" and client.select(0)
        assert "unknown command" in raises(redis.exceptions.ResponseError, client.execute_command, "NOSUCH")


def test_asyncio(server):
    async def run():
        client = redis.asyncio.Redis(port=server.port, protocol=3, decode_responses=True, max_connections=300)
        await client.flushall()
        await asyncio.gather(*(client.set(f"key:{number}", number) for number in range(200)))
        values = await client.mget([f"key:{number}" for number in range(200)])
        assert values == [str(number) for number in range(200)]
        async with client.pipeline() as pipe:
            assert await pipe.incr("a").incr("a").execute() == [1, 2]
        assert len([key async for key in client.scan_iter(match="key:*", count=10)]) == 200
        await client.aclose()

    asyncio.run(run())


harness.main(globals())

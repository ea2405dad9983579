// ioredis against the server: auto-pipelining, transactions, scans as streams, errors, reconnection.
"use strict";

const assert = require("node:assert");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const Redis = require("ioredis");

const [program, shards] = process.argv.slice(2);

function freePort() {
    return new Promise((done) => {
        const probe = net.createServer().listen(0, "127.0.0.1", () => {
            const { port } = probe.address();
            probe.close(() => done(port));
        });
    });
}

async function start() {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), "torc-clients-"));
    const port = await freePort();
    const options = ["--port", String(port), "--bind", "127.0.0.1"];
    // A peer standing in for Torc has no shards.
    if (path.basename(program).startsWith("torc-server")) options.push("--shards", shards);
    const child = spawn(program, options, { cwd: dir, stdio: "ignore" });
    const ended = new Promise((done) => child.once("exit", done));
    return { port, child, ended, dir };
}

const tests = {
    async strings(redis) {
        assert.equal(await redis.set("a", "1"), "OK");
        assert.equal(await redis.incr("a"), 2);
        assert.deepEqual(await redis.mget("a", "missing"), ["2", null]);
        assert.equal(await redis.set("a", "x", "EX", 100, "NX"), null);
        assert.ok((await redis.set("b", Buffer.from([0, 255, 13, 10]))) === "OK");
        assert.deepEqual(await redis.getBuffer("b"), Buffer.from([0, 255, 13, 10]));
        assert.equal(await redis.strlen("b"), 4);
    },
    async deepPipelines(redis) {
        const pipeline = redis.pipeline();
        for (let number = 0; number < 5000; number++) pipeline.set(`key:${number}`, number).get(`key:${number}`);
        const replies = await pipeline.exec();
        assert.equal(replies.length, 10000);
        replies.forEach(([error, reply], index) => {
            assert.equal(error, null);
            assert.equal(reply, index % 2 === 0 ? "OK" : String((index - 1) / 2));
        });
    },
    async manyAtOnce(redis) {
        const replies = await Promise.all(Array.from({ length: 2000 }, () => redis.incr("count")));
        assert.deepEqual(replies, Array.from({ length: 2000 }, (_, index) => index + 1));
    },
    async transactions(redis) {
        const replies = await redis.multi().set("a", "text").incr("b").mget("a", "b").exec();
        assert.deepEqual(replies, [[null, "OK"], [null, 1], [null, ["text", "1"]]]);
        const mixed = await redis.multi().incr("a").incr("b").exec();
        assert.match(mixed[0][0].message, /not an integer/);
        assert.equal(mixed[1][1], 2);
        await assert.rejects(redis.multi().call("SET", "only-key").exec(), /EXECABORT/);
    },
    async watch(redis) {
        const other = redis.duplicate();
        await redis.watch("a");
        await other.set("a", "changed");
        assert.equal(await redis.multi().get("a").exec(), null);
        await redis.watch("a");
        assert.deepEqual(await redis.multi().get("a").exec(), [[null, "changed"]]);
        other.disconnect();
    },
    async scanStream(redis) {
        const pipeline = redis.pipeline();
        for (let number = 0; number < 3000; number++) pipeline.set(`scan:${number}`, 1);
        await pipeline.exec();
        const keys = new Set();
        for await (const page of redis.scanStream({ match: "scan:*", count: 50 })) page.forEach((key) => keys.add(key));
        assert.equal(keys.size, 3000);
    },
    async errors(redis) {
        await redis.set("a", "text");
        await assert.rejects(redis.incr("a"), /value is not an integer or out of range/);
        await assert.rejects(redis.call("NOSUCH", "x"), /unknown command/);
        await assert.rejects(redis.call("GET"), /wrong number of arguments/);
    },
    async reconnects(redis, port) {
        const other = new Redis({ port });
        const id = await other.client("ID");
        assert.equal(await redis.client("KILL", "ID", id), 1);
        assert.equal(await other.set("after", "1"), "OK");
        assert.notEqual(await other.client("ID"), id);
        other.disconnect();
    },
    async database(redis, port) {
        const other = new Redis({ port, db: 5, connectionName: "fifth" });
        await other.set("a", "five");
        assert.equal(await redis.get("a"), null);
        assert.match(await redis.client("LIST"), /name=fifth .*db=5/);
        other.disconnect();
    },
    async autoPipelining(redis, port) {
        const other = new Redis({ port, enableAutoPipelining: true });
        const replies = await Promise.all(Array.from({ length: 1000 }, (_, index) => other.set(`auto:${index}`, index)));
        assert.ok(replies.every((reply) => reply === "OK"));
        other.disconnect();
    },
};

async function main() {
    const server = await start();
    const redis = new Redis({ port: server.port, maxRetriesPerRequest: null, retryStrategy: (times) => (times < 300 ? 50 : null) });
    redis.on("error", () => {});
    await redis.ping();
    let passed = 0;
    let failed = 0;
    for (const [name, test] of Object.entries(tests)) {
        await redis.flushall();
        let timer;
        const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error("no answer in time")), 30000)));
        try {
            await Promise.race([test(redis, server.port), late]);
            passed++;
        } catch (error) {
            failed++;
            console.log(`FAILED ${name}`, error);
        }
        clearTimeout(timer);
    }
    redis.disconnect();
    server.child.kill("SIGTERM");
    const code = await server.ended;
    if (code !== 0) {
        failed++;
        console.log(`the server ended with ${code}`);
    }
    fs.rmSync(server.dir, { recursive: true, force: true });
    console.log(`${passed} tests passed, ${failed} failed`);
    process.exit(failed === 0 ? 0 : 1);
}

main().catch((error) => {
    console.log(error);
    process.exit(1);
});

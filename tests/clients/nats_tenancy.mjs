// What a tenant does with a stock client of NATS (nats.js of npm): exchange, publish, read, stay apart, be cut off, go on.
//
// Usage: nats_tenancy.mjs BASE ACCOUNT KEY OTHER_ACCOUNT OWNER_TOKEN REVOKED_KEY_ID REVOKED_KEY
// The credentials of users live for a few seconds on that server.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, jwtAuthenticator } from "@nats-io/transport-node";

const [base, account, key, other, owner, revokedId, revokedKey] = process.argv.slice(2);
const logs = `${account}.stock-npm.logs`;
const stream = `source_${account.replaceAll("-", "").slice(0, 8)}_stock-npm_logs`;

async function call(method, path, body, credential) {
    const headers = { "content-type": "application/json", ...(credential && { authorization: `Bearer ${credential}` }) };
    const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer.status === 204 ? null : answer.json();
}

const exchange = (credential) => call("POST", "/api/v1/auth/exchange", { api_key: credential });

async function until(holds, what, seconds = 10) {
    const end = performance.now() + seconds * 1000;
    while (!(await holds())) {
        assert.ok(performance.now() < end, what);
        await sleep(10);
    }
}

const encoder = new TextEncoder();
/** A connection whose credential is the newest of `state`. */
const connection = (state, options) =>
    connect({
        servers: state.exchanged.nats_url,
        authenticator: jwtAuthenticator(
            () => state.exchanged.nats_user_jwt,
            () => encoder.encode(state.exchanged.nats_user_seed),
        ),
        reconnectTimeWait: 100,
        ...options,
    });

await call("POST", "/api/v1/sources", { handle: "stock-npm" }, key);
const made = await call("POST", "/api/v1/sources/stock-npm/pipes", { name: "logs" }, key);
assert.equal(made.stream_name, stream);
assert.equal(made.provisioned, undefined);

const state = { exchanged: await exchange(key) };
const user = await connection(state, { maxReconnectAttempts: -1 });
const js = jetstream(user);
const manager = await jetstreamManager(user, { checkAPI: false });
user.publish(logs, "one");
assert.equal((await js.publish(logs, "two")).seq, 2);

await manager.consumers.add(stream, { durable_name: "reader", ack_policy: "explicit" });
const durable = await js.consumers.get(stream, "reader");
for (const expected of ["one", "two"]) {
    const message = await durable.next({ expires: 2000 });
    assert.equal(message.string(), expected);
    message.ack();
}
const ordered = await js.consumers.get(stream);
for (const expected of ["one", "two"]) {
    assert.equal((await ordered.next({ expires: 2000 })).string(), expected);
}
assert.equal((await manager.streams.getMessage(stream, { last_by_subj: logs })).string(), "two");

// Another tenant.
const refused = [];
const foreign = user.subscribe(`${other}.>`, { callback: (error) => refused.push(error?.message) });
await until(() => refused.length > 0, "a foreign subject is refused");
assert.match(refused[0], /permissions violation/i);
foreign.unsubscribe();
const names = [];
for await (const info of manager.streams.list()) {
    names.push(info.config.name);
}
assert.ok(names.includes(stream) && names.every((name) => !name.includes("_robot_")), names.join());
await assert.rejects(manager.streams.info(`source_${other.replaceAll("-", "").slice(0, 8)}_robot_inbox`), /not found/);

// The credential ends while the client works: with a new one it goes on.
const first = state.exchanged.nats_user_jwt;
await until(async () => {
    if (Date.parse(state.exchanged.expires_at) - Date.now() < 2000) {
        state.exchanged = await exchange(key);
    }
    return state.exchanged.nats_user_jwt !== first;
}, "a new credential");
await until(async () => {
    if (Date.parse(state.exchanged.expires_at) - Date.now() < 2000) {
        state.exchanged = await exchange(key);
    }
    return js.publish(logs, "three", { timeout: 500 }).then(() => user.stats().inMsgs > 0, () => false);
}, "publishing goes on");
await user.close();

// Who is revoked is out within a second, and stays out.
const revoked = { exchanged: await exchange(revokedKey) };
const cut = await connection(revoked, { reconnect: false });
await call("DELETE", `/api/v1/accounts/${account}/keys/${revokedId}`, null, owner);
const closed = cut.closed();
assert.notEqual(await Promise.race([closed.then(() => "closed"), sleep(1000, "late")]), "late", "cut off");
await assert.rejects(connection(revoked, { reconnect: false }), /authorization/i);

// The device flow by a stock client of npm (openid-client), from discovery. The person's part is done as a browser does it.
//
// Usage: node device_flow.mjs BASE SESSION_COOKIE SHORT_LIVED_BASE ITS_SESSION_COOKIE

import { strict as assert } from "node:assert";
import * as client from "openid-client";

const [base, session, shortBase, shortSession] = process.argv.slice(2);

const discover = (base, auth = client.None()) =>
  client.discovery(new URL(base), "stock-npm", undefined, auth, {
    algorithm: "oauth2",
    execute: [client.allowInsecureRequests],
  });

async function decide(codes, session, action) {
  const page = await (await fetch(codes.verification_uri_complete, { headers: { cookie: session } })).text();
  assert.match(page, /stock npm client/);
  const csrf = page.match(/name="csrf_token" value="([^"]+)"/)[1];
  const answer = await fetch(codes.verification_uri, {
    method: "POST",
    headers: { cookie: session, origin: new URL(base).origin },
    body: new URLSearchParams({ user_code: codes.user_code, action, csrf_token: csrf }),
  });
  assert.equal(answer.status, 200);
}

async function fails(promise, error) {
  await assert.rejects(promise, (found) => {
    assert.equal(found.error ?? found.cause?.error, error, String(found));
    return true;
  });
}

const config = await discover(base);
const begin = (config) => client.initiateDeviceAuthorization(config, { client_name: "stock npm client" });

// Approved while it polls.
let codes = await begin(config);
const polling = client.pollDeviceAuthorizationGrant(config, codes);
await decide(codes, session, "approve");
const tokens = await polling;
assert.equal(tokens.token_type, "bearer");
const me = await client.fetchProtectedResource(config, tokens.access_token, new URL("/api/v1/users/me", base), "GET");
assert.equal((await me.json()).username, "ada");

// Denied.
codes = await begin(config);
await decide(codes, session, "deny");
await fails(client.pollDeviceAuthorizationGrant(config, codes), "access_denied");

// Expired.
const short = await discover(shortBase);
codes = await begin(short);
const poll = (config, codes) =>
  client.genericGrantRequest(config, "urn:ietf:params:oauth:grant-type:device_code", { device_code: codes.device_code });
const until = Date.now() + 1000 * codes.expires_in;
while (Date.now() < until) {
  await assert.rejects(poll(short, codes), (found) => found.error !== undefined);
}
await fails(poll(short, codes), "expired_token");

// Polled too fast, then approved.
codes = await begin(config);
await fails(poll(config, codes), "authorization_pending");
await fails(poll(config, codes), "slow_down");
await decide(codes, session, "approve");

// Ten race for it.
const race = await Promise.allSettled(
  Array.from({ length: 10 }, () => poll(config, codes)),
);
assert.equal(race.filter((outcome) => outcome.status === "fulfilled").length, 1);
for (const { reason } of race.filter((outcome) => outcome.status === "rejected")) {
  assert.equal(reason.error, "invalid_grant");
}

// Introspected and revoked.
const resource = await discover(base, client.ClientSecretPost(tokens.access_token));
assert.equal((await client.tokenIntrospection(resource, tokens.access_token)).username, "ada");
const basic = await discover(base, client.ClientSecretBasic(tokens.access_token));
assert.equal((await client.tokenIntrospection(basic, tokens.access_token)).active, true);
await client.tokenRevocation(config, tokens.access_token);
const gone = client.fetchProtectedResource(config, tokens.access_token, new URL("/api/v1/users/me", base), "GET");
await assert.rejects(gone, (error) => error.code === "OAUTH_WWW_AUTHENTICATE_CHALLENGE");
console.log("done");

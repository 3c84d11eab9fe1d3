// Drives a server through a client that a generator has made of docs/openapi.json: list, create, page, a typed error.
// Arguments: the URL of the server, and the token of a person who owns the account `acme`.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Source = components["schemas"]["SourceRecord"];
type Problem = components["schemas"]["Problem"];

const [baseUrl, token] = process.argv.slice(2);
if (baseUrl === undefined || token === undefined) throw new Error("arguments: URL TOKEN");
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } });

function expect(condition: boolean, what: string): asserts condition {
    if (!condition) throw new Error(what);
}

const account = "acme";
const handles = ["alpha", "beta", "gamma", "delta", "epsilon"];
for (const [number, handle] of handles.entries()) {
    const { data, error, response } = await client.POST("/api/v1/accounts/{account}/sources", {
        params: { path: { account }, header: { "Idempotency-Key": `source-${number}` } },
        body: { handle, kind: "message" },
    });
    expect(error === undefined && data !== undefined, `${handle}: ${response.status}`);
    const made: Source = data;
    expect(made.handle === handle && made.subject.endsWith(`.${handle}.inbox`), JSON.stringify(made));
    expect(response.headers.get("tenure-position") !== null, "a write has a position");
}

// The same request again is the same source.
const again = await client.POST("/api/v1/accounts/{account}/sources", {
    params: { path: { account }, header: { "Idempotency-Key": "source-0" } },
    body: { handle: "alpha", kind: "message" },
});
expect(again.data?.handle === "alpha", "a repeated request is answered as the first time");

const seen: string[] = [];
let cursor: string | undefined;
let pages = 0;
do {
    const { data } = await client.GET("/api/v1/accounts/{account}/sources", {
        params: { path: { account }, query: cursor === undefined ? { limit: 2 } : { limit: 2, cursor } },
    });
    expect(data !== undefined, "a page");
    seen.push(...data.items.map((source) => source.handle));
    cursor = data.next_cursor ?? undefined;
    pages += 1;
} while (cursor !== undefined);
expect(pages === 3, `${pages} pages`);
expect(seen.join() === [...handles].sort().join(), seen.join());

const { error: taken, response } = await client.POST("/api/v1/accounts/{account}/sources", {
    params: { path: { account } },
    body: { handle: "alpha" },
});
expect(taken !== undefined, "a handle that is taken is an error");
const problem: Problem = taken;
expect(response.status === 409 && problem.code === "source.handle_taken", JSON.stringify(problem));

// The routes of existing clients, with their own shape of errors.
const listed = await client.GET("/api/v1/sources", { params: { query: {} } });
expect(listed.data?.sources.length === handles.length, JSON.stringify(listed.error));
const gone = await client.GET("/api/v1/sources/{handle}", { params: { path: { handle: "gone" }, query: {} } });
expect(gone.error?.error.code === "E_SOURCE_NOT_FOUND", JSON.stringify(gone.error));

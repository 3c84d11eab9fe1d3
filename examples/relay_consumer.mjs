// Reads the events of the log from JetStream, each once, from where it stopped.
//
// node relay_consumer.mjs tenure.creds nats://127.0.0.1:4222 place.json [COUNT]

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { connect, credsAuthenticator } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const [credentials, url, place, most] = process.argv.slice(2);
let count = Number(most ?? Infinity);

const store = (stream, position) => {
  // In practice: in the transaction of what you do with the event.
  writeFileSync(`${place}.new`, JSON.stringify({ stream, position }));
  renameSync(`${place}.new`, place);
};

const connection = await connect({ servers: url, authenticator: credsAuthenticator(readFileSync(credentials)) });
const manager = await jetstreamManager(connection);
const stream = await manager.streams.find("tenure.events.>");
const at = existsSync(place) ? JSON.parse(readFileSync(place, "utf8")) : { stream: null, position: 0 };
// Another stream has the events of another epoch of the log: positions from before say nothing about it.
let position = at.stream === stream ? at.position : 0;

// An ordered consumer is made again by the client, at the right place, whenever it is lost.
const consumer = await jetstream(connection).consumers.get(stream, { opt_start_seq: position + 1 });
for await (const message of await consumer.consume()) {
  // Published again after JetStream had lost it: done before.
  if (message.seq <= position) continue;
  const type = decodeURIComponent(message.headers.get("ce-type"));
  const event = message.data.length > 0 ? message.json() : {};
  console.log(message.seq, type, Object.keys(event).sort());
  position = message.seq;
  store(stream, position);
  count -= 1;
  if (count <= 0) break;
}
await connection.close();

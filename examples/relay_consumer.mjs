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
let at = existsSync(place) ? JSON.parse(readFileSync(place, "utf8")) : { stream: null, position: 0 };
// Another stream has the events of another epoch of the log: positions from before say nothing about it.
const position = (stream) => (at.stream === stream ? at.position : 0);

while (count > 0) {
  const stream = await manager.streams.find("tenure.events.>");
  const consumer = await jetstream(connection).consumers.get(stream, { opt_start_seq: position(stream) + 1 });
  let isIdle = false;
  // An idle while: nothing new, or the log was restored and has another stream.
  while (count > 0 && !isIdle) {
    isIdle = true;
    for await (const message of await consumer.fetch({ max_messages: Math.min(count, 100), expires: 5000 })) {
      isIdle = false;
      // Published again after JetStream had lost it: done before.
      if (message.seq <= position(stream)) continue;
      const type = decodeURIComponent(message.headers.get("ce-type"));
      const event = message.data.length > 0 ? message.json() : {};
      console.log(message.seq, type, Object.keys(event).sort());
      at = { stream, position: message.seq };
      store(stream, message.seq);
      count -= 1;
    }
  }
}
await connection.close();

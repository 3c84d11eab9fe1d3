"""Reads the events of the log from JetStream, each once, from where it stopped.

python relay_consumer.py tenure.creds nats://127.0.0.1:4222 place.json [COUNT]
"""

import asyncio
import json
import os
import pathlib
import sys
import urllib.parse

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy


def load(place):
    return json.loads(place.read_text()) if place.exists() else {"stream": None, "position": 0}


def store(place, stream, position):
    # In practice: in the transaction of what you do with the event.
    beside = place.with_suffix(".new")
    beside.write_text(json.dumps({"stream": stream, "position": position}))
    os.replace(beside, place)


async def main(credentials, url, place, count):
    connection = await nats.connect(url, user_credentials=credentials)
    jetstream = connection.jetstream()
    stream = await jetstream.find_stream_name_by_subject("tenure.events.>")
    at = load(place)
    # Another stream has the events of another epoch of the log: positions from before say nothing about it.
    position = at["position"] if at["stream"] == stream else 0
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=position + 1,
        inactive_threshold=60,
    )
    consumer = await jetstream.pull_subscribe("tenure.events.>", stream=stream, config=config)
    while count > 0:
        try:
            messages = await consumer.fetch(min(count, 100), timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            if message.metadata.sequence.stream <= position:
                # Published again after JetStream had lost it: done before.
                continue
            header = {name: urllib.parse.unquote(value) for name, value in message.headers.items()}
            event = json.loads(message.data) if message.data else None
            print(message.metadata.sequence.stream, header["ce-type"], sorted(event or {}))
            position = message.metadata.sequence.stream
            store(place, stream, position)
            count -= 1
    await connection.close()


credentials, url, place = sys.argv[1:4]
count = int(sys.argv[4]) if len(sys.argv) > 4 else sys.maxsize
asyncio.run(main(credentials, url, pathlib.Path(place), count))

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


async def follow(jetstream, position):
    """The stream of the log's present epoch, and a consumer of it."""
    stream = await jetstream.find_stream_name_by_subject("tenure.events.>")
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=position(stream) + 1,
        inactive_threshold=60,
    )
    return stream, await jetstream.pull_subscribe("tenure.events.>", stream=stream, config=config)


async def main(credentials, url, place, count):
    connection = await nats.connect(url, user_credentials=credentials)
    jetstream = connection.jetstream()
    at = load(place)

    def position(stream):
        # Another stream has the events of another epoch of the log: positions from before say nothing about it.
        return at["position"] if at["stream"] == stream else 0

    stream, consumer = await follow(jetstream, position)
    while count > 0:
        try:
            messages = await consumer.fetch(min(count, 100), timeout=5)
        except nats.errors.TimeoutError:
            # Nothing new, or the log was restored and has another stream.
            stream, consumer = await follow(jetstream, position)
            continue
        for message in messages:
            sequence = message.metadata.sequence.stream
            if sequence <= position(stream):
                # Published again after JetStream had lost it: done before.
                continue
            header = {name: urllib.parse.unquote(value) for name, value in message.headers.items()}
            event = json.loads(message.data) if message.data else None
            print(sequence, header["ce-type"], sorted(event or {}))
            at = {"stream": stream, "position": sequence}
            store(place, stream, sequence)
            count -= 1
    await connection.close()


credentials, url, place = sys.argv[1:4]
count = int(sys.argv[4]) if len(sys.argv) > 4 else sys.maxsize
asyncio.run(main(credentials, url, pathlib.Path(place), count))

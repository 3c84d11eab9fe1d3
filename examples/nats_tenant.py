"""Exchanges an API key for a NATS credential, publishes to a pipe and reads it back: docs/guides/nats.md."""

import asyncio
import base64
import os

import nats
import nkeys
import requests


def exchange():
    body = {"api_key": os.environ["KEY"]}
    answer = requests.post(os.environ["SERVER"] + "/api/v1/auth/exchange", json=body, timeout=10)
    answer.raise_for_status()
    return answer.json()


async def main():
    user = exchange()
    seed = user["nats_user_seed"].encode()
    connection = await nats.connect(
        user["nats_url"],
        user_jwt_cb=lambda: bytearray(user["nats_user_jwt"].encode()),
        signature_cb=lambda nonce: base64.b64encode(nkeys.from_seed(seed).sign(nonce.encode())),
    )
    jetstream = connection.jetstream()
    logs = f"{user['account_id']}.robot.logs"
    await jetstream.publish(logs, b"hello")
    reader = await jetstream.pull_subscribe(logs, durable="reader")
    for message in await reader.fetch(1, timeout=5):
        print(message.subject.split(".", 1)[1], message.data.decode())
        await message.ack()
    await connection.close()


asyncio.run(main())

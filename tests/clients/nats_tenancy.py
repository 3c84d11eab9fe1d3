"""What a tenant does with a stock client of NATS (nats-py of PyPI): exchange, publish, read, stay apart, be cut off, go on.

Usage: nats_tenancy.py BASE ACCOUNT KEY OTHER_ACCOUNT OWNER_TOKEN REVOKED_KEY_ID REVOKED_KEY
The credentials of users live for a few seconds on that server.
"""

import asyncio
import base64
import sys
import time

import nats
import nkeys
import requests
from nats.errors import NoServersError, TimeoutError
from nats.js.errors import NotFoundError

base, account, key, other, owner, revoked_id, revoked_key = sys.argv[1:]
logs = f"{account}.stock-pypi.logs"
stream = f"source_{account.replace('-', '')[:8]}_stock-pypi_logs"


def post(path, body, credential):
    answer = requests.post(base + path, json=body, headers={"authorization": f"Bearer {credential}"})
    answer.raise_for_status()
    return answer.json()


def exchange(credential):
    answer = requests.post(base + "/api/v1/auth/exchange", json={"api_key": credential})
    answer.raise_for_status()
    return answer.json()


class User:
    """A user whose credential is exchanged anew for every connection."""

    def __init__(self, credential, fresh=True):
        self.credential, self.fresh, self.exchanged, self.exchanges = credential, fresh, None, 0

    def token(self):
        return bytearray(self.exchanged["nats_user_jwt"].encode())

    def sign(self, nonce):
        # The client asks for the signature first.
        if self.fresh or self.exchanged is None:
            self.exchanged = exchange(self.credential)
            self.exchanges += 1
        pair = nkeys.from_seed(self.exchanged["nats_user_seed"].encode())
        return base64.b64encode(pair.sign(nonce.encode()))

    async def connect(self, **options):
        self.errors = []

        async def remember(error):
            self.errors.append(str(error))

        url = (self.exchanged or exchange(self.credential))["nats_url"]
        return await nats.connect(
            url, user_jwt_cb=self.token, signature_cb=self.sign, error_cb=remember, reconnect_time_wait=0.1, **options
        )


async def until(holds, what, seconds=10):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def main():
    post("/api/v1/sources", {"handle": "stock-pypi"}, key)
    made = post("/api/v1/sources/stock-pypi/pipes", {"name": "logs"}, key)
    assert made["stream_name"] == stream and "provisioned" not in made, made

    user = User(key)
    connection = await user.connect()
    jetstream = connection.jetstream(timeout=1)
    await connection.publish(logs, b"one")
    acknowledged = await jetstream.publish(logs, b"two")
    assert (acknowledged.stream, acknowledged.seq) == (stream, 2), acknowledged

    durable = await jetstream.pull_subscribe(logs, durable="reader")
    read = await durable.fetch(2, timeout=2)
    assert [message.data for message in read] == [b"one", b"two"]
    for message in read:
        await message.ack()
    ordered = await jetstream.subscribe(logs, ordered_consumer=True)
    assert [(await ordered.next_msg(timeout=2)).data for _ in range(2)] == [b"one", b"two"]
    await ordered.unsubscribe()
    assert (await jetstream.get_last_msg(stream, logs)).data == b"two"
    assert (await jetstream.get_msg(stream, seq=1)).data == b"one"

    # Another tenant.
    await connection.subscribe(f"{other}.>")
    await connection.publish(f"{other}.robot.inbox", b"x")
    await connection.flush()
    await until(lambda: len(user.errors) >= 2, "both are refused")
    assert all("permissions violation" in error.lower() for error in user.errors), user.errors
    names = [info.config.name for info in await jetstream.streams_info()]
    assert sorted(names) == sorted([stream, stream.replace("logs", "inbox")]), names
    try:
        await jetstream.get_last_msg(f"source_{other.replace('-', '')[:8]}_robot_inbox", f"{other}.robot.inbox")
        raise AssertionError("another tenant's stream")
    except NotFoundError:
        pass
    for forbidden in (
        jetstream.add_stream(name="own", subjects=[f"{account}.own"], max_bytes=1000),
        jetstream.delete_stream(stream),
        jetstream.purge_stream(stream),
    ):
        try:
            await forbidden
            raise AssertionError("a tenant changes no streams")
        except TimeoutError:
            pass

    # The credential ends while the client works. This client then closes its connection; with a new credential it goes on.
    await until(lambda: connection.is_closed, "cut off at its end", 15)
    connection = await user.connect()
    assert user.exchanges == 2
    jetstream = connection.jetstream()
    assert (await jetstream.publish(logs, b"three")).seq == 3
    durable = await jetstream.pull_subscribe(logs, durable="reader")
    assert [message.data for message in await durable.fetch(1, timeout=2)] == [b"three"], "where it left off"
    await connection.close()

    # Who is revoked is out within a second, and stays out.
    user = User(revoked_key, fresh=False)
    connection = await user.connect(allow_reconnect=False)
    answer = requests.delete(
        f"{base}/api/v1/accounts/{account}/keys/{revoked_id}", headers={"authorization": f"Bearer {owner}"}
    )
    answer.raise_for_status()
    await until(lambda: connection.is_closed, "cut off", 1)
    try:
        await user.connect(allow_reconnect=False, max_reconnect_attempts=1)
        raise AssertionError("a revoked user gets in")
    except NoServersError:
        pass
    except nats.errors.Error as error:
        assert "authorization" in str(error).lower(), error


asyncio.run(main())

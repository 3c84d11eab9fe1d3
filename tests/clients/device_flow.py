"""The device flow by a stock client of PyPI (Authlib), from discovery. The person's part is done as a browser does it.

Usage: device_flow.py BASE SESSION_COOKIE SHORT_LIVED_BASE ITS_SESSION_COOKIE
"""

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

base, session, short_base, short_session = sys.argv[1:]
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class Metadata(AuthorizationServerMetadata):
    def validate_issuer(self):
        assert self["issuer"], "the tests have no TLS"


def discover(base):
    metadata = Metadata(requests.get(get_well_known_url(base, external=True)).json())
    assert metadata["issuer"] == base
    assert GRANT in metadata["grant_types_supported"]
    return metadata


def begin(metadata):
    fields = {"client_id": "stock-pypi", "client_name": "stock PyPI client"}
    answer = requests.post(metadata["device_authorization_endpoint"], data=fields)
    answer.raise_for_status()
    return answer.json()


def client():
    return OAuth2Session(client_id="stock-pypi", token_endpoint_auth_method="none")


def poll(metadata, codes):
    return client().fetch_token(metadata["token_endpoint"], grant_type=GRANT, device_code=codes["device_code"])


def error_of(metadata, codes):
    try:
        poll(metadata, codes)
    except OAuthError as error:
        return error.error
    return None


def poll_until_decided(metadata, codes):
    interval = codes["interval"]
    while True:
        error = error_of(metadata, codes)
        if error == "slow_down":
            interval += 5
        elif error != "authorization_pending":
            return error
        time.sleep(interval)


def decide(codes, session, action):
    name, value = session.split("=", 1)
    browser = requests.Session()
    browser.cookies.set(name, value)
    page = browser.get(codes["verification_uri_complete"])
    assert page.status_code == 200 and "stock PyPI client" in page.text, page.text
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', page.text).group(1)
    fields = {"user_code": codes["user_code"], "action": action, "csrf_token": csrf}
    assert browser.post(codes["verification_uri"], data=fields).status_code == 200


metadata = discover(base)

codes = begin(metadata)
assert error_of(metadata, codes) == "authorization_pending"
assert error_of(metadata, codes) == "slow_down", "polled too fast"
decide(codes, session, "approve")
token = poll(metadata, codes)
me = OAuth2Session(client_id="stock-pypi", token=token).get(f"{base}/api/v1/users/me")
assert me.json()["username"] == "ada", me.text

codes = begin(metadata)
decide(codes, session, "deny")
assert error_of(metadata, codes) == "access_denied"

short = discover(short_base)
assert poll_until_decided(short, begin(short)) == "expired_token"

codes = begin(metadata)
decide(codes, session, "approve")
with ThreadPoolExecutor(10) as pool:
    outcomes = list(pool.map(lambda _: error_of(metadata, codes), range(10)))
assert outcomes.count(None) == 1 and outcomes.count("invalid_grant") == 9, outcomes

resource = OAuth2Session("anything", token["access_token"])
seen = resource.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
assert seen.json()["active"] is True and seen.json()["username"] == "ada", seen.text
assert client().revoke_token(metadata["revocation_endpoint"], token=token["access_token"]).status_code == 200
gone = OAuth2Session(client_id="stock-pypi", token=token).get(f"{base}/api/v1/users/me")
assert gone.status_code == 401 and "invalid_token" in gone.headers["www-authenticate"]
print("done")

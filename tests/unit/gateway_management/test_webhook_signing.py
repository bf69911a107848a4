from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode

from lava_grpc.gateway.webhook_signing import new_secret, signature_headers


def test_the_standard_signature_is_that_of_the_specification() -> None:
    # The example of standardwebhooks.com and of its libraries' tests.
    headers = signature_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        delivery_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        sent_at_seconds=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_lavas_signature_is_keyed_with_the_secret_as_it_is_written() -> None:
    secret, body = new_secret(), "{“}".encode()
    headers = signature_headers(secret, delivery_id="msg_1", sent_at_seconds=1, body=body)
    wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Webhook-Signature"] == wanted


def test_secrets_are_long_and_never_the_same() -> None:
    first, second = new_secret(), new_secret()
    assert first.startswith("whsec_")
    assert len(b64decode(first.removeprefix("whsec_"))) == 32
    assert first != second

"""A real S3 server on 127.0.0.1 for tests, with its settings in the environment."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-K7MDENG-planted-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


START = """
import time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), sep=":", flush=True)
time.sleep(3600)
"""


class Server:
    """A server at ``url`` that `stop` ends."""

    def __init__(self, url: str, stop: Callable[[], object]) -> None:
        self.url, self.stop = url, stop

    def environment(self) -> dict[str, str]:
        """What a client needs to reach it."""
        return KEYS | {"AWS_ENDPOINT_URL": self.url}

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"bucket-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self, service: str = "s3"):  # type: ignore[no-untyped-def]
        """A plain client of Amazon's own library."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )

    def reader(self) -> dict[str, str]:
        """Keys of a user who may list and read and nothing else."""
        iam, name = self.client("iam"), f"reader-{uuid4().hex[:8]}"
        iam.create_user(UserName=name)
        allowed = [
            {
                "Effect": "Allow",
                "Action": ["s3:Get*", "s3:List*", "s3:HeadObject", "s3:HeadBucket"],
                "Resource": "*",
            }
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    @contextmanager
    def checking_rights(self) -> Iterator[None]:
        """Inside, keys and policies count; outside everybody may do everything."""
        self._count_free_calls("0")
        try:
            yield
        finally:
            self._count_free_calls("inf")

    def _count_free_calls(self, number: str) -> None:
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", data=number.encode(), headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=10).read()


@contextmanager
def s3_server(patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server in a thread, and this process's environment set to it."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        yield _set(patch, Server("http://{}:{}".format(*moto.get_host_and_port()), moto.stop))
    finally:
        moto.stop()
        forget_clients()


@contextmanager
def s3_process(patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server in a process of its own, so that `Server.stop` breaks open connections too, as a dead machine does."""
    process = subprocess.Popen(
        [sys.executable, "-c", START], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None

    def stop() -> None:
        process.kill()
        process.wait()

    try:
        yield _set(patch, Server(f"http://{process.stdout.readline().strip()}", stop))
    finally:
        stop()
        process.stdout.close()
        forget_clients()


def _set(patch: pytest.MonkeyPatch, server: Server) -> Server:
    for name, value in server.environment().items():
        patch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_CONFIG_FILE", "/dev/null")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    forget_clients()
    return server


def forget_clients() -> None:
    """Clients are kept by their arguments, and would go on with the address and keys of an earlier environment."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()

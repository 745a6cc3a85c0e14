"""Run a real S3 server in its own process on the loopback interface; tests can stop and restart it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import urllib3
from botocore.session import get_session
from fsspec import get_filesystem_class
from pyspark import SparkContext

from tests.ports import free_port

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class ObjectStore:
    """moto's S3 server on its own port; its content is lost when it stops."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, "the S3 server ended"
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the S3 server did not answer within a minute")

    def stop(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Answer no request while the block runs: connections are accepted and requests wait. The content is kept."""
        assert self._process is not None, "the S3 server does not run"
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def strict(self, *, known: bool) -> Iterator[None]:
        """Check credentials while the block runs; those of the test belong to a user without rights, or to no user."""
        users = get_session().create_client("iam", endpoint_url=self.url, region_name="us-east-1")
        users.create_user(UserName="nobody")
        key = users.create_access_key(UserName="nobody")["AccessKey"]
        self._look_at_credentials(True)
        try:
            with pytest.MonkeyPatch.context() as patch:
                if known:
                    patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
                    patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
                get_filesystem_class("s3").clear_instance_cache()
                yield
        finally:
            self._look_at_credentials(False)
            users.delete_access_key(UserName="nobody", AccessKeyId=key["AccessKeyId"])
            users.delete_user(UserName="nobody")
            get_filesystem_class("s3").clear_instance_cache()

    def _look_at_credentials(self, begin: bool) -> None:
        urllib3.request("POST", f"{self.url}/moto-api/reset-auth", body=b"0" if begin else b"inf")


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectStore]:
    """An S3 server for one test module."""
    with object_store() as running:
        yield running


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Run an S3 server; set the environment so that this process and its children use it."""
    store = ObjectStore()
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, "AWS_ENDPOINT_URL")}
    os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=store.url)
    store.start()
    # Connections are kept for longer than a server of these tests lives, and so is the environment of Spark's workers.
    get_filesystem_class("s3").clear_instance_cache()
    end_java()
    try:
        yield store
    finally:
        store.stop()
        get_filesystem_class("s3").clear_instance_cache()
        end_java()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def end_java() -> None:
    """Stop the Java process that Spark sessions share, because its Python workers keep the environment of its start."""
    gateway = SparkContext._gateway
    if gateway is None:
        return
    assert SparkContext._active_spark_context is None, "a Spark session is still open"
    gateway.shutdown()
    gateway.proc.stdin.close()  # Spark's Java ends when its parent lets go
    gateway.proc.wait(60)
    SparkContext._gateway = SparkContext._jvm = None

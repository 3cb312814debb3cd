"""moto's server, with SageMaker's jobs played in front of it by `fake_jobs`, over real HTTP on loopback."""

import functools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import requests
from botocore.loaders import JSONFileLoader
from fake_jobs import FakeJobs, Refused
from fake_machine import GROUP
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# A session reads megabytes of JSON about the services of AWS, and each test has several sessions.
_read_once = functools.cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda self, file_path: _read_once(file_path)


class FakeAws:
    """A WSGI application: SageMaker's operations are answered here, S3 and CloudWatch by moto.

    `faults` are answers (status, code, message) that the next calls of SageMaker get instead, by operation.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: dict[str, list[tuple[int, str, str]]] = {}
        self.jobs = FakeJobs()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        if service != "SageMaker":
            return self._moto(environ, start_response)
        request = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        self.requests.append((operation, request))
        status, answer = 200, {}
        if self.faults.get(operation):
            status, code, message = self.faults[operation].pop(0)
            answer = {"__type": code, "message": message}
        else:
            try:
                answer = getattr(self.jobs, operation)(request)
            except Refused as refused:
                status, answer = 400, {"__type": refused.code, "message": str(refused)}
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
        start_response(f"{status} {'OK' if status == 200 else 'No'}", headers)
        return [body]

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.requests if name == operation]


@contextmanager
def serving() -> Iterator[FakeAws]:
    """The application behind a free port of this machine, with a bucket and CloudWatch's group, nothing else."""
    fake = FakeAws()
    server = make_server("127.0.0.1", 0, fake, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    fake.jobs.url = f"http://127.0.0.1:{server.server_port}"
    requests.post(f"{fake.jobs.url}/moto-api/reset", timeout=30)
    client("s3", fake.jobs.url).create_bucket(Bucket="toy-bucket")
    client("logs", fake.jobs.url).create_log_group(logGroupName=GROUP)
    try:
        yield fake
    finally:
        fake.jobs.end_all()
        server.shutdown()
        thread.join()
        server.server_close()


def client(service: str, url: str, region: str = "us-east-1") -> Any:
    return boto3.client(service, endpoint_url=url, region_name=region)

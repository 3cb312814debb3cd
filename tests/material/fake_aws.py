"""moto's server, with SageMaker's jobs played in front of it by `fake_jobs`, over real HTTP on loopback."""

import functools
import io
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

    `faults` are answers (status, code, message) that the next calls get instead, by operation; `denied` those that
    every call gets. The reply of a call in `lost` is lost on its way back: it is done, and answered with a 500.
    `endpoint_states` are what the next looks at an endpoint see instead of moto's InService, with a reason;
    `on_describe` is called at each look; `answers` plays the container: a request's body gives the answer's.
    `puts` are the keys that were put, with the encryption that was asked for.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: dict[str, list[tuple[int, str, str]]] = {}
        self.denied: dict[str, tuple[int, str, str]] = {}
        self.lost: list[str] = []
        self.puts: list[tuple[str, str | None, str | None]] = []
        self.jobs = FakeJobs()
        self.endpoint_states: list[tuple[str, str]] = []
        self.on_describe: Callable[[], object] | None = None
        self.answers: Callable[[dict[str, Any]], Any] | None = None
        self._one_put = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].endswith("/invocations"):
            return self._invoke(environ, start_response)
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")
        operation = operation or _s3_operation(environ)
        request = {}
        if service == "SageMaker":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
            request = json.loads(body)
            self.requests.append((operation, request))
        faults = self.faults.get(operation)
        if fault := faults.pop(0) if faults else self.denied.get(operation):
            return _answer(start_response, fault[0], {"__type": fault[1], "message": fault[2]}, as_xml=not service)
        if operation in ("PutObject", "CreateMultipartUpload"):
            asked = [environ.get(f"HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION{end}") for end in ("", "_AWS_KMS_KEY_ID")]
            self.puts.append((environ["PATH_INFO"].partition("/toy-bucket/")[2], *asked))
        if "HTTP_IF_NONE_MATCH" in environ:
            # moto looks and then writes, and of two at once would let both.
            with self._one_put:
                return [*self._moto(environ, start_response)]
        if service != "SageMaker":
            return self._moto(environ, start_response)
        if operation == "DescribeEndpoint" and self.on_describe:
            self.on_describe()
        if operation == "DescribeEndpoint" and self.endpoint_states:
            state, reason = self.endpoint_states.pop(0)
            return _answer(start_response, 200, {**request, "EndpointStatus": state, "FailureReason": reason})
        if not hasattr(self.jobs, operation):
            # Packages, models and endpoints.
            return self._moto(environ, start_response)
        try:
            status, answer = 200, getattr(self.jobs, operation)(request)
        except Refused as refused:
            status, answer = 400, {"__type": refused.code, "message": str(refused)}
        if operation in self.lost:
            self.lost.remove(operation)
            status, answer = 500, {"__type": "InternalFailure", "message": "the reply was lost"}
        return _answer(start_response, status, answer)

    def _invoke(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The runtime, which moto plays without a container."""
        request = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        self.requests.append(("InvokeEndpoint", request))
        return _answer(start_response, 200, self.answers(request) if self.answers else {})

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.requests if name == operation]


def _s3_operation(environ: dict[str, Any]) -> str:
    method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
    if method == "POST" and "uploads" in query:
        return "CreateMultipartUpload"
    has_key = environ["PATH_INFO"].count("/") > 1
    return {
        "GET": "GetObject" if has_key else "ListObjectsV2",
        "HEAD": "HeadObject" if has_key else "HeadBucket",
        "PUT": "PutObject" if has_key else "CreateBucket",
    }.get(method, method)


def _answer(
    start_response: Callable[..., Any], status: int, answer: dict[str, Any], as_xml: bool = False
) -> list[bytes]:
    body = json.dumps(answer)
    if as_xml:
        body = f"<Error><Code>{answer['__type']}</Code><Message>{answer['message']}</Message></Error>"
    kind = "application/xml" if as_xml else "application/x-amz-json-1.1"
    headers = [("Content-Type", kind), ("Content-Length", str(len(body.encode())))]
    start_response(f"{status} {'OK' if status == 200 else 'No'}", headers)
    return [body.encode()]


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

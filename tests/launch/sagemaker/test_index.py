"""A private index of packages: its password comes from the secret, and is read before anything is installed."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fake_aws import FakeAws, client
from sagemaker_account import Toy

from calltune.errors import JobError
from calltune.launch.sagemaker.aws import Aws
from calltune.launch.sagemaker.plan import make_plan
from calltune.launch.sagemaker.submit import run_stages

PASSWORD = "PLANTEDplanted"


@contextmanager
def index() -> Iterator[tuple[int, list[tuple[str, str | None]]]]:
    """An index on loopback that holds nothing; its port, and the paths that were asked for, with who asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            is_known = self.headers.get("Authorization") is not None
            self.send_response(404 if is_known else 401)
            if not is_known:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


def test_pip_is_given_the_index_of_the_secret(
    fake: FakeAws, aws: Aws, toy: Toy, toy_package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with index() as (port, asked):
        secret = {"PIP_INDEX_URL": f"http://me:{PASSWORD}@127.0.0.1:{port}/simple", "PIP_RETRIES": "0"}
        secrets = client("secretsmanager", fake.jobs.url)
        arn = secrets.create_secret(Name="index", SecretString=json.dumps(secret))["ARN"]
        config = toy(more=f'secret = "{arn}"')
        with pytest.raises(JobError, match="failed: AlgorithmError: the packages could not be installed: ERROR: No"):
            run_stages(aws, config, make_plan(config, toy_package, ["calltune-of-mine==1.0"]), ["sft"])
    known = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert ("/simple/calltune-of-mine/", known) in asked
    printed = client("logs", fake.jobs.url).filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    assert printed
    assert PASSWORD not in json.dumps(printed) + capsys.readouterr().out + json.dumps(fake.requests)

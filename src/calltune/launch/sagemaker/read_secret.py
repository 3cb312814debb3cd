"""Read a job's secret from Secrets Manager and print its variables as JSON: `read_secret.py`, on its own."""

import json
import os
from collections.abc import Mapping
from typing import Any


def variables_of(text: str) -> Mapping[str, Any]:
    """Return the variables of a JSON object, or one Hugging Face token."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"HF_TOKEN": text.strip()}


if __name__ == "__main__":
    import boto3

    arn = os.environ["CALLTUNE_SECRET_ARN"]
    client: Any = boto3.client("secretsmanager", region_name=arn.split(":")[3])
    secret = client.get_secret_value(SecretId=arn)["SecretString"]
    print(json.dumps(variables_of(secret), allow_nan=False))

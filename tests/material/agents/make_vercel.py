"""Makes what Vercel's SDK keeps and records: `python make_vercel.py`, where NODE_FOLDER has the npm packages."""

import json
import subprocess
from pathlib import Path

from recorded import SERVER, write
from scripted_agent import CONVERSATIONS, STREAMED, SYSTEM, TOOLS

if __name__ == "__main__":
    answers = [m for messages in CONVERSATIONS.values() for m in messages if m["role"] == "assistant"]
    SERVER.script = iter([*answers, *answers])
    asked = {
        **{"conversations": CONVERSATIONS, "streamed": STREAMED, "system": SYSTEM, "tools": TOOLS},
        "url": SERVER.url,
    }
    script = Path(__file__).with_suffix(".mjs")
    run = subprocess.run(["node", script], input=json.dumps(asked), capture_output=True, text=True, check=False)
    print(run.stderr[-2000:])
    made = json.loads(run.stdout)
    name = f"vercel{made['version'].partition('.')[0]}"
    write(f"{name}_model_messages", made["models"])
    write(f"{name}_ui_messages", made["screens"])
    write(f"{name}_telemetry_otlp", made["batches"])

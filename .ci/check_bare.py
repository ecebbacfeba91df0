"""What the bare install must have done: six studies read, torch not there, nothing of training imported."""

import importlib.util
import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
for name in ("torch", "torchvision", "timm", "lightning", "sklearn", "scipy", "pandas"):
    assert importlib.util.find_spec(name) is None, f"{name} came with the core install"

records = [json.loads(line) for line in (folder / "result.jsonl").read_text().splitlines()]
assert len(records) == 6, f"{len(records)} of 6 studies on stdout"
decisions = {record["patient_id"]: record["decision"] for record in records}
print("bare install:", decisions)
assert all(record["status"] == "DECIDED" for record in records), records
assert (folder / "result" / "index.html").stat().st_size > 0
assert decisions["CT-ICH-091"] == "SUSPECTED", "the large bleed of patient 91 must be seen"

"""Clients from PyPI: prints each message as [id, data]. The arguments are a package, sseclient or sseclient-py, and a URL.

Both packages are a module `sseclient`: one is a file, the other one a folder, which is found first."""

import importlib.util
import json
import sys
from pathlib import Path

import requests
import sseclient

package, url = sys.argv[1:]


def show(value):
    # sseclient prints its own errors to stdout.
    print("\n" + json.dumps(value), flush=True)


if package == "sseclient":
    file = Path(sseclient.__file__).parent.parent / "sseclient.py"
    spec = importlib.util.spec_from_file_location("sseclient_of_a_file", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    messages = module.SSEClient(url)
else:
    messages = sseclient.SSEClient(requests.get(url, stream=True)).events()
show("open")
for message in messages:
    if message.data:
        show([message.id, message.data])

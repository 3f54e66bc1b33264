"""``w2s serve``: the page of a store, up to date."""

from __future__ import annotations

import json
import signal
import sys
import threading
from types import FrameType

from weakstrong.cli.listings import open_store
from weakstrong.redact import visible
from weakstrong.serve import PageServer, Watched, is_local


def serve_page(store: str | None, host: str, port: int, title: str | None, as_json: bool) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    opened = open_store(store)
    watched = Watched(opened, title)
    server = PageServer(watched, host, port)
    if not is_local(host):
        print(
            f"warning: everybody who reaches {visible(host)} can read these results and the texts in them; "
            "there is no password. Without --host only this machine can.",
            file=sys.stderr,
        )
    follower = threading.Thread(target=watched.follow, daemon=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        follower.start()
        if as_json:
            print(json.dumps({"url": server.url, "store": opened.url}), flush=True)
        else:
            print(f"{server.url}  (store {visible(opened.url)}; Ctrl-C ends it)", flush=True)
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
        watched.stop()
        server.server_close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

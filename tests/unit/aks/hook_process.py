"""The Machine hook as a process of its own, whose time stands in a file; a test may kill it.

python hook_process.py ARM_URL CLOCK_FILE PORT_FILE
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from werkzeug.serving import make_server

from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.web.machine import create_machine_app

START = datetime(2026, 1, 1, tzinfo=UTC)


def main(arm: str, clock: Path, port: Path) -> None:
    def now() -> datetime:
        return START + timedelta(seconds=float(clock.read_text()))

    subscription = "00000000-0000-0000-0000-000000000000"
    settings = AksSettings(subscription, "laptop", "laptop", "test", arm_endpoint=arm)
    app = create_machine_app(AksProvider(settings, now), now, log_stream=sys.stderr)
    server = make_server("127.0.0.1", 0, app)
    whole = port.with_suffix(".part")
    whole.write_text(str(server.server_port))
    whole.rename(port)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

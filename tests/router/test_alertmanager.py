"""A real Alertmanager, configured as code writes it, and the admin API that it tells."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from monitoring import configuration
from registry import Registry
from tests.monitoring.prometheus import free_port, program, wait_for
from tests.router.administered import ADMIN_KEY, administered


def test_amtool_accepts_the_configuration(tmp_path: Path) -> None:
    configuration.write(tmp_path)
    (tmp_path / configuration.KEY_FILE).write_text(ADMIN_KEY)
    done = subprocess.run(
        [program("amtool"), "check-config", str(tmp_path / "alertmanager.yml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_about_answers_arrives_and_others_stay_with_people(
    sqlite_registry: Registry, tmp_path: Path
) -> None:
    sqlite_registry.tenants.create("acme")
    sqlite_registry.adapters.create("acme", "support", "tiny")
    with (
        administered(sqlite_registry) as admin,
        _alertmanager(tmp_path, f"{str(admin.base_url).rstrip('/')}/v1/alerts") as alertmanager,
    ):
        for name in ("SwitchyardPipelineChanged", "SwitchyardQualityDown"):
            fired = [{"labels": {"alertname": name, "tenant": "acme"}}]
            assert alertmanager.post("/api/v2/alerts", json=fired).status_code == 200
        (receipt,) = wait_for(lambda: sqlite_registry.decisions.all("acme"), "the webhook")
        assert (receipt.kind, receipt.rule) == ("ask", "alert")
        assert receipt.by == "alert SwitchyardQualityDown"
        known = alertmanager.get("/api/v2/alerts").json()
    told = {a["labels"]["alertname"]: {r["name"] for r in a["receivers"]} for a in known}
    assert told == {
        "SwitchyardPipelineChanged": {"people"},
        "SwitchyardQualityDown": {"people", "switchyard"},
    }


@contextmanager
def _alertmanager(folder: Path, webhook: str) -> Iterator[httpx.Client]:
    config = configuration.alertmanager(webhook, group_wait="0s")
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    (folder / configuration.KEY_FILE).write_text(ADMIN_KEY)
    port = free_port()
    with (folder / "alertmanager.log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus-alertmanager"),
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alerts'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                wait_for(lambda: _ready(client, process), "Alertmanager to be ready")
                yield client
        finally:
            process.terminate()
            process.wait(timeout=20)


def _ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Alertmanager ended at once; see alertmanager.log"
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False

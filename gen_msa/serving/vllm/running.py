"""Starts vLLM's server, waits until it is ready and proven, and passes on the word to stop.

The server is a child. It is told to stop when we are, and when its adapter is not what was trained;
if it ends by itself, so do we, with its code in the message. Knows no flag.

    Running(command, check, address, settings, log=Log()).run()
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from gen_msa.errors import MissingExtra, UserError
from gen_msa.serving.logs import Log
from gen_msa.serving.settings import TOKEN, ServeSettings, token_of
from gen_msa.serving.vllm.command import KEY, Command, command
from gen_msa.serving.vllm.finding import find
from gen_msa.serving.vllm.probing import probe
from gen_msa.serving.vllm.settings import VllmSettings

Check = Callable[[httpx.Client], dict[str, str]]
_LOOKS = 0.2
"""Seconds between two looks at a server that is starting."""


def planned(settings: VllmSettings) -> tuple[Command, Check]:
    """The command, and the check of what it starts, files checked. Raises `UserError`."""
    asked = ServeSettings(host=settings.host, token_file=settings.token_file)
    variable = TOKEN if os.environ.get(TOKEN) else KEY
    token = token_of(asked, {**os.environ, TOKEN: os.environ.get(variable, "")})
    found = find(settings)
    dtype = settings.backend.dtype
    now = "bfloat16" if dtype == "auto" else dtype

    def check(client: httpx.Client) -> dict[str, str]:
        shown = {"models": ", ".join(found.names), **found.notes}
        return shown | probe(client, found, now=now)

    return command(settings, found, token, settings.token_file or variable), check


def serve(settings: VllmSettings) -> None:
    """Serve until told to stop. Raises `UserError` for all that keeps it from serving."""
    plan, check = planned(settings)
    # Not resolved: interpreters of two environments may be links to one file.
    if settings.python == sys.executable and importlib.util.find_spec("vllm") is None:
        raise MissingExtra("vllm", "vllm")
    Running(plan, check, settings, log=Log()).run()


class Running:
    """A server in a child process."""

    def __init__(self, plan: Command, check: Check, settings: VllmSettings, *, log: Log) -> None:
        """Starts nothing yet."""
        self._plan, self._check, self._settings, self._log = plan, check, settings, log
        self._told = threading.Event()
        self._sign = Path(settings.ready_file) if settings.ready_file else None
        host = settings.host.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"

    def run(self) -> None:
        """Serve until `stop`, SIGTERM or Ctrl-C, which the server is told as well.

        Raises `UserError` when the server cannot start, is not what was trained, or ends by itself.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        self._unused()
        self._unsigned()
        # In a group of its own: Ctrl-C reaches it through us alone, and once.
        try:
            child = subprocess.Popen(  # noqa: S603  our own arguments, no shell
                self._plan.argv, env=self._plan.whole(os.environ), start_new_session=True
            )
        except OSError as e:
            mend = "python=PATH names the interpreter of the environment that has vLLM"
            raise UserError(f"{self._settings.python} cannot be started: {e}", mend=mend) from None
        self._log.write("starting", url=self.url, pid=child.pid)
        try:
            self._serve(child)
        finally:
            self._unsigned()
            self._end(child)
            self._log.write("stopped", code=child.returncode)

    def stop(self) -> None:
        """Return from `run`, the server ended first."""
        self._told.set()

    def _unsigned(self) -> None:
        """No word of an earlier server is taken for that of this one."""
        if self._sign:
            try:
                self._sign.unlink(missing_ok=True)
                self._sign.parent.stat()
            except OSError as e:
                mend = "name a file in a folder that can be written to"
                raise UserError(f"ready_file={self._sign} cannot be used: {e}", mend=mend) from None

    def _unused(self) -> None:
        """Or another server's health would be taken for that of ours."""
        host, port = self._settings.host.strip("[]"), self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                door.bind((host, port))
            except OSError as e:
                mend = "give another host= or port="
                raise UserError(f"{host}:{port} cannot be listened on: {e}", mend=mend) from None

    def _serve(self, child: "subprocess.Popen[bytes]") -> None:
        key = {"Authorization": f"Bearer {self._plan.secret}"} if self._plan.secret else {}
        with httpx.Client(
            base_url=self.url, headers=key, timeout=120, trust_env=False, follow_redirects=False
        ) as client:
            if not self._wait(child, client):
                return
            facts: dict[str, Any] = self._check(client)
        if self._sign:
            self._sign.touch()
        self._log.write("ready", url=f"{self.url}/v1", **facts)
        while not self._told.wait(_LOOKS):
            self._alive(child)

    def _wait(self, child: "subprocess.Popen[bytes]", client: httpx.Client) -> bool:
        """Until `/health` is 200. False: told to stop before that."""
        until = time.monotonic() + self._settings.start_seconds
        while not self._told.wait(_LOOKS):
            self._alive(child)
            try:
                if client.get("/health", timeout=5).status_code == httpx.codes.OK:
                    return True
            except httpx.TransportError:
                pass  # not listening yet; the clock below ends this
            if time.monotonic() > until:
                raise UserError(
                    f"the server was not ready within {self._settings.start_seconds:g} s",
                    mend="give it longer, start_seconds=3600; its log stands above",
                )
        return False

    def _alive(self, child: "subprocess.Popen[bytes]") -> None:
        if child.poll() is not None:
            raise UserError(
                f"vLLM's server ended by itself, with code {child.returncode}",
                mend="its log stands above; `--print` shows how it was started",
            )

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        """Told to stop; with all it started killed when it does not."""
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(self._settings.stop_seconds)
        except subprocess.TimeoutExpired:
            self._log.write("killed", after_seconds=self._settings.stop_seconds)
        # Its engine is a process of its own, and must not outlive it with all that memory.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        child.wait()

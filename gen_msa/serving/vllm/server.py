"""Run vLLM's server as a child process: start it, wait until it is ready, verify it, stop it.

The server is stopped when this process is, and when its adapter does not answer as in training;
when it ends by itself, this process ends with its exit code in the message.

    command, check = plan_server(settings)
    VllmServer(command, check, settings, log=JsonLog()).run()
"""

import base64
import importlib.util
import io
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

from gen_msa.backends.vllm import MAX_LOGPROBS, SEED
from gen_msa.errors import MissingExtra, UserError, require_posix
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.settings import TOKEN_ENV_VAR, ServeSettings, load_token
from gen_msa.serving.sockets import take_only_free_port
from gen_msa.serving.vllm.command import (
    VLLM_KEY_ENV_VAR,
    ResolvedModel,
    ServerCommand,
    VllmSettings,
    build_command,
    resolve_model,
)

# Verify what the adapter of a running server does, before clients rely on it.


def verify_adapter(
    client: httpx.Client, resolved: ResolvedModel, *, precision: str
) -> dict[str, str]:
    """Ask a running server the adapter's probe and compare with training.

    Args:
        client: Client with the server's address and key.
        resolved: Model and adapter being served.
        precision: Precision the server computes in, e.g. `bfloat16`.

    Returns:
        What was checked, for the log.

    Raises:
        UserError: The server does not answer as in training, or cannot be asked.
    """
    from gen_msa.backends.hf import remote_probe

    recorded_probe = resolved.metadata.probe if resolved.metadata else None
    if resolved.adapter is None and recorded_probe is None:
        return {"probe": "none: a model without adapter has no recorded probe"}
    question = remote_probe.probe_question(recorded_probe)
    adapted_response = remote_probe.ProbeResponse(
        *_query_scores(client, resolved.names[0], *question)
    )
    has_adapter = resolved.adapter is not None
    base_response = (
        remote_probe.ProbeResponse(*_query_scores(client, resolved.names[-1], *question))
        if has_adapter
        else None
    )
    folder = resolved.adapter or resolved.model
    remote_probe.check_remote_probe(
        folder, recorded_probe, adapted=adapted_response, base=base_response, precision=precision
    )
    if recorded_probe is None:
        return {"probe": "the adapter has an effect; no recorded probe to compare with"}
    return {"probe": "the server answers as in training"}


def _query_scores(
    client: httpx.Client, model: str, text: str, image: Any | None
) -> tuple[tuple[int, ...], dict[int, float]]:
    """Ask for the next token after a prompt.

    Returns:
        The prompt's token ids (empty where the server does not return them), and the
            log-probabilities
        (nats) of the likeliest next tokens by id.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": _message_content(text, image)}],
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": SEED,
        "logprobs": True,
        "top_logprobs": MAX_LOGPROBS,
        "return_tokens_as_token_ids": True,
        "return_token_ids": True,
    }
    try:
        reply = client.post("/v1/chat/completions", json=body)
        reply.raise_for_status()
        payload = reply.json()
        top_logprobs = payload["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        scores = {
            int(x["token"].removeprefix("token_id:")): float(x["logprob"]) for x in top_logprobs
        }
        return tuple(map(int, payload.get("prompt_token_ids") or ())), scores
    except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError) as e:
        response_text = getattr(getattr(e, "response", None), "text", "")[:300]
        raise UserError(
            f"the server does not answer the probe of {model}: {type(e).__name__} {response_text}",
            hint="see its log above; vLLM 0.20 or later is required",
        ) from None


def _message_content(text: str, image: Any | None) -> str | list[dict[str, Any]]:
    if image is None:
        return text
    out = io.BytesIO()
    image.save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]


ServerCheck = Callable[[httpx.Client], dict[str, str]]
_POLL_SECONDS = 0.2
"""Seconds between two health checks of a server that is starting."""


def plan_server(settings: VllmSettings) -> tuple[ServerCommand, ServerCheck]:
    """Check the files, and build the command and the check of the running server.

    Raises:
        UserError: A file, setting or token is not usable.
    """
    serve_settings = ServeSettings(host=settings.host, token_file=settings.token_file)
    variable = TOKEN_ENV_VAR if os.environ.get(TOKEN_ENV_VAR) else VLLM_KEY_ENV_VAR
    token = load_token(serve_settings, {**os.environ, TOKEN_ENV_VAR: os.environ.get(variable, "")})
    resolved = resolve_model(settings)
    dtype = settings.backend.dtype
    precision = "bfloat16" if dtype == "auto" else dtype

    def check(client: httpx.Client) -> dict[str, str]:
        server_notes = {"models": ", ".join(resolved.names), **resolved.notes}
        return server_notes | verify_adapter(client, resolved, precision=precision)

    return build_command(settings, resolved, token, settings.token_file or variable), check


def serve(settings: VllmSettings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        UserError: The server cannot start (never on Windows), or does not answer as in training.
    """
    require_posix(
        "serving vllm: models", hint="serve on Linux, e.g. in WSL, and use http:URL#MODEL"
    )
    server_command, check = plan_server(settings)
    # Paths as given: interpreters of two environments may be links to one file.
    if settings.python == sys.executable and importlib.util.find_spec("vllm") is None:
        raise MissingExtra("vllm", "vllm")
    VllmServer(server_command, check, settings, log=JsonLog()).run()


class VllmServer:
    """A vLLM server in a child process."""

    def __init__(
        self,
        server_command: ServerCommand,
        check: ServerCheck,
        settings: VllmSettings,
        *,
        log: JsonLog,
    ) -> None:
        """Prepare the server; `run` starts it.

        Args:
            server_command: Arguments and environment.
            check: Called once when the server is ready; raises `UserError` to stop it.
            settings: Address and time limits.
            log: Log of events.
        """
        self._command, self._check, self._settings, self._log = server_command, check, settings, log
        self._stop_requested = threading.Event()
        self._ready_file = Path(settings.ready_file) if settings.ready_file else None
        host = settings.host.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"

    def run(self) -> None:
        """Serve until `stop`, SIGTERM or Ctrl-C; then stop the server.

        Raises:
            UserError: The server cannot start, does not answer as in training, or ends by itself.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())
        self._check_port_free()
        self._remove_ready_file()
        # In its own process group: Ctrl-C reaches it only through this process, and once.
        try:
            child = subprocess.Popen(  # noqa: S603  fixed arguments, no shell
                self._command.argv,
                env=self._command.full_environment(os.environ),
                start_new_session=True,
            )
        except OSError as e:
            hint = "python=PATH names the interpreter of the environment that has vLLM"
            raise UserError(f"{self._settings.python} cannot be started: {e}", hint=hint) from None
        self._log.write("starting", url=self.url, pid=child.pid)
        try:
            self._run_until_stopped(child)
        finally:
            self._remove_ready_file()
            self._terminate(child)
            self._log.write("stopped", code=child.returncode)

    def stop(self) -> None:
        """Make `run` return after it has stopped the server."""
        self._stop_requested.set()

    def _remove_ready_file(self) -> None:
        """Remove the file of an earlier server, which would announce this one too soon."""
        if self._ready_file:
            try:
                self._ready_file.unlink(missing_ok=True)
                self._ready_file.parent.stat()
            except OSError as e:
                hint = "name a file in a folder that can be written to"
                raise UserError(
                    f"ready_file={self._ready_file} cannot be used: {e}", hint=hint
                ) from None

    def _check_port_free(self) -> None:
        """Refuse a port in use: another server's health would be taken for this one's."""
        host, port = self._settings.host.strip("[]"), self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe_socket:
            take_only_free_port(probe_socket)
            try:
                probe_socket.bind((host, port))
            except OSError as e:
                hint = "give another host= or port="
                raise UserError(f"cannot listen on {host}:{port}: {e}", hint=hint) from None

    def _run_until_stopped(self, child: "subprocess.Popen[bytes]") -> None:
        headers = (
            {"Authorization": f"Bearer {self._command.secret}"} if self._command.secret else {}
        )
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=120, trust_env=False, follow_redirects=False
        ) as client:
            if not self._wait_until_ready(child, client):
                return
            check_results: dict[str, Any] = self._check(client)
        if self._ready_file:
            self._ready_file.touch()
        self._log.write("ready", url=f"{self.url}/v1", **check_results)
        while not self._stop_requested.wait(_POLL_SECONDS):
            self._check_alive(child)

    def _wait_until_ready(self, child: "subprocess.Popen[bytes]", client: httpx.Client) -> bool:
        """Wait until `/health` is 200; return False when stopped before that."""
        deadline = time.monotonic() + self._settings.start_seconds
        while not self._stop_requested.wait(_POLL_SECONDS):
            self._check_alive(child)
            try:
                if client.get("/health", timeout=5).status_code == httpx.codes.OK:
                    return True
            except httpx.TransportError:
                pass  # not listening yet; the deadline below ends this
            if time.monotonic() > deadline:
                raise UserError(
                    f"the server was not ready within {self._settings.start_seconds:g} s",
                    hint="see its log above, or give it more time: start_seconds=3600",
                )
        return False

    def _check_alive(self, child: "subprocess.Popen[bytes]") -> None:
        if child.poll() is not None:
            raise UserError(
                f"vLLM's server ended by itself, with code {child.returncode}",
                hint="see its log above; `--print` shows how it was started",
            )

    def _terminate(self, child: "subprocess.Popen[bytes]") -> None:
        """Stop the server; kill it and its children when it does not stop in time."""
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(self._settings.stop_seconds)
        except subprocess.TimeoutExpired:
            self._log.write("killed", after_seconds=self._settings.stop_seconds)
        # Its engine is a separate process that must not outlive it and hold the GPU memory.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        child.wait()

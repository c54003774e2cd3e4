"""Listen, serve, and on SIGTERM or Ctrl-C answer the requests in flight and stop.

serve(settings, load_token(settings))
"""

import asyncio
import math
import signal
import socket
import threading

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gen_msa.errors import UserError
from gen_msa.serving.app import create_app
from gen_msa.serving.logs import JsonLog
from gen_msa.serving.service import PredictorLoader, Service
from gen_msa.serving.settings import ServeSettings
from gen_msa.serving.sockets import take_only_free_port


def serve(settings: ServeSettings, token: str, *, log: JsonLog | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        settings: Settings of model and service.
        token: Bearer token; "" for none.
        log: Log; standard error if not given.

    Raises:
        UserError: The port is taken or the model cannot be loaded.
    """
    Server(settings, token, log=log or JsonLog()).run()


class Server:
    """A service with its socket; `url` is known before it runs."""

    def __init__(
        self,
        settings: ServeSettings,
        token: str,
        *,
        log: JsonLog,
        load: PredictorLoader | None = None,
    ) -> None:
        """Bind the socket; `run` serves.

        Args:
            settings: Settings of model and service.
            token: Bearer token; "" for none.
            log: Log of requests and events.
            load: Loads another model than the settings name.

        Raises:
            UserError: The port is taken.
        """
        self.settings, self.log = settings, log
        self._socket = _bind_socket(settings)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self.service = Service(settings, log, load)
        limits = settings.limits
        config = uvicorn.Config(
            create_app(self.service, token, self.stop),
            http=_Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=math.ceil(limits.header_seconds),
            limit_concurrency=limits.connections + 1,
            timeout_graceful_shutdown=max(1, round(limits.stop_seconds)),
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until `stop`, SIGTERM or Ctrl-C.

        Raises:
            UserError: The model cannot be loaded.
            RuntimeError: The model's thread ended by itself.
        """
        if threading.current_thread() is threading.main_thread():
            # uvicorn shuts down on these and then raises them again, which would end the process.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
        settings_json = self.settings.model_dump(mode="json")
        self.log.write("listening", url=self.url, settings=settings_json)
        with self.log.capture_server_logs():
            self._server.run(sockets=[self._socket])
        self.log.write("stopped")
        failure = self.service.batcher.failure
        if isinstance(failure, UserError):
            raise failure
        if failure is not None:
            raise RuntimeError("the model has ended by itself") from failure

    def stop(self) -> None:
        """Take no more requests; `run` returns when those in flight are answered."""
        self._server.should_exit = True


class _Connection(H11Protocol):
    """Connection of uvicorn whose keep-alive timer also limits the time for a request's headers.

    uvicorn starts that timer only after an answer and stops it at the next byte, so a client that
    sends nothing at first, or its headers byte by byte, would be waited for without end; it has
    no other timeout for this, and ASGI middleware runs once the headers are complete. Here the
    timer
    runs from the start, and uvicorn stops it when the headers are complete.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Parse `data` as uvicorn does, without stopping the timer."""
        self.conn.receive_data(data)
        self.handle_events()


def _bind_socket(settings: ServeSettings) -> socket.socket:
    host, port = settings.host.strip("[]"), settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets with this protocol number: 40 ms an answer.
    server_socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    take_only_free_port(server_socket)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        milliseconds = math.ceil(1000 * settings.limits.write_seconds)
        server_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    try:
        server_socket.bind((host, port))
        server_socket.listen(1024)
        return server_socket
    except OSError as e:
        server_socket.close()
        hint = "give another host= or port=; port=0 finds a free one"
        raise UserError(f"cannot listen on {host}:{port}: {e}", hint=hint) from None

"""A real RabbitMQ broker of one's own, for the tests: loopback only, its own folder, its own port mapper.

Dies with the process that started it, however that one ends. The port stays the same over restarts, and so does what
durable queues hold. Needs Debian's `rabbitmq-server`; runs as whoever runs the tests, root included.
"""

import os
import shutil
import signal
import socket
import tempfile
import time
import uuid
from pathlib import Path
from typing import Self

from pamqp import commands, frame

from demo.processes import DIES_WITH_US, START_TIMEOUT_S, Process, free_port, launch, wait_until_up

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_SETTINGS = """
listeners.tcp.1 = 127.0.0.1:{port}
log.file.level = warning
disk_free_limit.absolute = 10MB
vm_memory_high_watermark.absolute = 1GB
collect_statistics_interval = 60000
max_message_size = 4194304
"""


class RabbitServer:
    """One running broker with the user `guest`; `start_again` after `stop` or `kill` finds the same queues."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._mapper_port = free_port()
        self._name = f"bridge-{uuid.uuid4().hex[:8]}@localhost"
        self._mapper: Process | None = None
        self._broker: Process | None = None

    @classmethod
    def start(cls) -> Self:
        """Start one in a temporary folder. Raises: RuntimeError with its log when it does not come up."""
        server = cls(Path(tempfile.mkdtemp(prefix="rabbit-")))
        try:
            server._prepare()
            server.start_again()
        except BaseException:
            server.close()
            raise
        return server

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start_again(self) -> None:
        """Start the broker that `stop` or `kill` ended; returns when it takes connections."""
        log = self.folder / "out.log"
        command = [*DIES_WITH_US, str(PROGRAM), "-noinput"]
        self._broker = launch(command, out=log, environment=self._environment())
        wait_until_up(self._broker, self._answers, log=log)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Leave connections open and answer nothing."""
        self._signal(signal.SIGSTOP)
        while not self._is_frozen():  # a thread that runs on another processor stops when it comes to it
            time.sleep(0.001)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def revive(self) -> None:
        """Have it running, whatever was done to it."""
        self.thaw()
        if self._broker is None or self._broker.poll() is not None:
            self.start_again()

    def remembers(self, queue: str) -> bool:
        """Whether a new quorum queue would survive `kill`: its name is written down a second after it is made."""
        names = self.folder.glob("mnesia/*/quorum/*/names.dets")
        return any(queue.encode() in file.read_bytes() for file in names)

    def log_tail(self, characters: int = 4000) -> str:
        """The end of what it said."""
        return "\n".join(file.read_text(errors="replace")[-characters:] for file in self.folder.glob("**/*.log"))

    def close(self) -> None:
        """End everything and remove the folder."""
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(uuid.uuid4().hex)
        cookie.chmod(0o400)
        (self.folder / "rabbitmq.conf").write_text(_SETTINGS.format(port=self.port))
        (self.folder / "env.conf").touch()
        (self.folder / "plugins").write_text("[].\n")
        command = ["epmd", "-address", "127.0.0.1", "-port", str(self._mapper_port)]
        self._mapper = launch([*DIES_WITH_US, *command])

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_ALLOW_INPUT": "1",  # so that the script becomes the broker instead of waiting for it
        }

    def _answers(self) -> bool:
        """Whether it takes a login yet; while it boots, it resets connections that are further than the greeting."""
        login = commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                if not connection.recv(65536):
                    return False
                connection.sendall(frame.marshal(login, 0))
                return bool(connection.recv(65536))
        except OSError:
            return False

    def _is_frozen(self) -> bool:
        if self._broker is None or self._broker.poll() is not None:
            return True
        threads = Path(f"/proc/{self._broker.pid}/task").glob("*/stat")
        try:
            return {thread.read_text().rpartition(")")[2].split()[0] for thread in threads} == {"T"}
        except OSError:  # one has just ended
            return False

    def _signal(self, number: signal.Signals) -> None:
        if self._broker is not None and self._broker.poll() is None:
            self._broker.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._broker is not None:
            self._signal(number)
            self._signal(signal.SIGCONT)
            self._broker.wait(START_TIMEOUT_S)

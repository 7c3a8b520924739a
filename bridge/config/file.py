"""The keys of systems that give us files: `file`."""

from typing import Annotated, Literal

from pydantic import model_validator

from bridge.config.kit import LocalPath, Number, Section, Whole, key, one_of, shaped
from bridge.config.secrets import Secret

FilePattern = Annotated[
    str, shaped(r"[^/\x00-\x1f.][^/\x00-\x1f]{0,254}", "a file name with * and ?, like ORD*.DAT, without folders")
]
RemoteFolder = Annotated[str, shaped(r"[^\x00-\x1f]{1,1024}", "a folder on the server")]
Suffix = Annotated[str, shaped(r"\.[A-Za-z0-9._-]{1,31}", "a suffix, like .done")]


class SftpConfig(Section):
    """An SFTP server."""

    host: str = key("Server name or address.", min_length=1, max_length=255)
    port: Whole = key("Server port.", default=22, ge=1, le=65535)
    user: str = key("Login.", min_length=1, max_length=255)
    password: Secret | None = key("Its password: a reference, read again at each connection.", default=None)
    private_key: LocalPath | None = key("File of its private key.", default=None)
    passphrase: Secret | None = key("The private key's passphrase: a reference.", default=None)
    known_hosts: LocalPath = key("File with the server's host key, as OpenSSH writes it; nothing else is trusted.")
    folder: RemoteFolder = key("Folder with the files.", default=".")

    @model_validator(mode="after")
    def _one_login(self) -> "SftpConfig":
        one_of(self, "password", "private_key")
        return self


class FileSystemConfig(Section):
    """A folder, here or on an SFTP server, in which a system leaves files."""

    folder: LocalPath | None = key("Folder with the files, beside the config file unless absolute.", default=None)
    sftp: SftpConfig | None = key("An SFTP server.", default=None)
    settle_s: Number = key("Seconds for which a file's size and time must stand still.", default=10.0, ge=0, le=86_400)
    done: Suffix | None = key("A file is complete when one of its name with this suffix is there.", default=None)
    order: Literal["name", "time"] = key("Which file comes first: by name, or by time of change.", default="name")
    after: Literal["archive", "delete", "leave"] = key("What becomes of a file once the journal holds it.",
        default="archive")  # fmt: skip
    archive: Annotated[str, shaped(r"[^\x00-\x1f]{1,1024}", "a folder")] = key(
        "Folder that taken files are moved to, below theirs unless absolute; on the same file system.",
        default="archive",
    )
    same_name: Literal["take", "refuse"] = key(
        "A file with the name of one that was taken, and other content.", default="take"
    )
    remember_days: Number = key("How long names and contents are remembered, so that none is taken twice.",
        default=400.0, gt=0, le=36_500)  # fmt: skip
    poll_s: Number = key("Seconds between looks into the folder.", default=5.0, gt=0, le=86_400)
    limit_gigabytes: Number = key("Largest file that is taken, unpacked.", default=100.0, gt=0)

    @model_validator(mode="after")
    def _one_place(self) -> "FileSystemConfig":
        one_of(self, "folder", "sftp")
        return self

"""Where a store lies: a file system of fsspec and a root on it, and what goes wrong there in words."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from weakstrong.errors import ConfigError, StoreError
from weakstrong.redact import has_credentials, without_secrets
from weakstrong.store_records import explain_os_error

OBJECTS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "memory")
"""Protocols without folders: a file is put under any name, and asking for a folder might make a bucket."""
EXTRAS = {"s3": "weakstrong[s3]", "s3a": "weakstrong[s3]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs"}
LOST = (
    *("ConnectionError", "HTTPClientError", "ClientConnectionError", "ClientConnectorError", "TimeoutError"),
    *("FSTimeoutError", "gaierror", "ConnectError", "ServerDisconnectedError", "ClientPayloadError"),
)
"""Classes of errors of botocore, aiohttp, requests and the standard library that mean: nobody answers."""
NO_LOGIN = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"),
    *("SSOTokenLoadError", "UnauthorizedSSOTokenError", "ProfileNotFound", "DefaultCredentialsError"),
}
"""Classes of errors of botocore and google-auth that mean: no credentials were found."""


def error_code(error: BaseException) -> str:
    """What an object store called its error (``NoSuchBucket``), or "" where it named none."""
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


class File(NamedTuple):
    """A stored file: its length in bytes, and when it was last written (seconds since 1970; 0 if unknown)."""

    bytes: int
    when: float


def _seconds(info: Mapping[str, Any]) -> float:
    for name in (
        "mtime",
        "LastModified",
        "last_modified",
        "updated",
        "created",
    ):  # as different libraries call it
        value = info.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0


class Place:
    """A root on a file system, and few verbs on paths below it; what fails is a `StoreError` in words.

    Listings are never taken from a cache: another process may have written since.

    Args:
        url: a folder, or a URL fsspec understands (``s3://bucket/prefix``, ``memory://x``).

    Raises:
        ConfigError: if the kind of URL is unknown, its library is missing, or it holds a password.
    """

    def __init__(self, url: str | Path) -> None:
        from fsspec.core import url_to_fs

        self.url = str(url)
        self.protocol = self.url.partition("://")[0] if "://" in self.url else "file"
        self._refuse_passwords()
        try:
            self.fs, root = url_to_fs(
                self.url if "://" in self.url else str(Path(self.url).expanduser().absolute()),
                use_listings_cache=False,
            )
        except ImportError as error:
            package = EXTRAS.get(self.protocol, "the library it names")
            raise ConfigError(
                f"the store {self.url} needs a library that is not here ({error}); pip install {package}"
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"the store {self.url} cannot be understood ({error}); "
                "wanted a folder or a URL such as s3://bucket/prefix"
            ) from error
        self.root = str(root).rstrip("/") or "/"
        self.is_local = type(self.fs).__name__ == "LocalFileSystem"
        if not self.is_local and set(self.root) & set("*?[]"):
            raise ConfigError(
                f"the store {self.url} has one of * ? [ ] in its URL, which fsspec reads as a pattern"
            )

    def _refuse_passwords(self) -> None:
        # A store's URL is printed, noted and handed to workers; what must not be seen must not be in it.
        user = self.url.partition("://")[2].partition("/")[0].rpartition("@")[0]
        if has_credentials(self.url) or (user and self.protocol in ("s3", "s3a")):
            raise ConfigError(
                f"the URL of a store on {self.protocol} holds a password or key, which would be seen in logs and notes; "
                "leave them out and set the variables of its library, e.g. AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or FSSPEC_{self.protocol.upper()}_PASSWORD"
            )

    def explain(self, error: Exception) -> StoreError:
        """What an error of the file system means, in words, without secrets."""
        if isinstance(error, StoreError):
            return error
        if self.is_local and isinstance(error, OSError):
            return explain_os_error(error, self.url)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreError(
                f"no space left on this machine for the cache of the store {self.url}; "
                "free some, or set WEAKSTRONG_CACHE to a larger disk and run again"
            )
        if isinstance(error, OSError) and error.errno and error.filename:
            return StoreError(
                f"the cache of the store {self.url} on this machine cannot be used ({error}); "
                "set WEAKSTRONG_CACHE to a folder that can be written"
            )
        kinds = {kind.__name__ for kind in type(error).__mro__}
        said = without_secrets(str(error)) or type(error).__name__
        if kinds & NO_LOGIN:
            return StoreError(
                f"no credentials for the store {self.url} ({said}); set those of its library, "
                "e.g. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, and run again"
            )
        if isinstance(error, PermissionError):
            return StoreError(
                f"access denied by the store {self.url} ({said}); "
                "its credentials are wrong or may not do this: give them the right, or choose another with --store"
            )
        if error_code(error) == "NoSuchBucket":
            return StoreError(
                f"the store {self.url}: no such bucket; make it first, or choose another with --store"
            )
        if kinds & set(LOST):
            return StoreError(
                f"no connection to the store {self.url} ({said}); "
                "what is stored there is safe: run again when it answers"
            )
        return StoreError(f"the store {self.url} failed: {type(error).__name__}: {said}")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Turn what the file system raises into words; only that a path is missing or of the wrong kind goes through."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if error_code(error) != "NoSuchBucket":
                raise
            raise self.explain(error) from error
        except Exception as error:
            explained = self.explain(error)
            raise explained from (None if explained is error else error)

    def path(self, *parts: str) -> str:
        """A path below the root."""
        return "/".join((self.root.rstrip("/"), *parts))

    def read(self, path: str) -> bytes:
        """The bytes of a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        with self.asking():
            return bytes(self.fs.cat_file(path))

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The bytes of many small files, at once where the file system can; one that has gone is left out."""
        if self.is_local:  # fsspec would take a folder named run[1] for a pattern
            found: dict[str, Any] = {}
            for path in paths:
                with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    found[path] = self.read(path)
            return found
        if not paths:
            return {}
        with self.asking():
            found = self.fs.cat(list(paths), on_error="return")
        for error in found.values():
            if isinstance(error, Exception) and not isinstance(error, (FileNotFoundError, IsADirectoryError)):
                raise self.explain(error) from error
        return {path: data for path, data in found.items() if isinstance(data, bytes)}

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there; unlike fsspec's own, no answer is not a no."""
        try:
            with self.asking():
                self.fs.invalidate_cache()
                self.fs.info(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def entries(self, path: str) -> list[dict[str, Any]]:
        """What lies in a folder (``name``, ``type``, ``size``), one level deep; [] if it is not there."""
        try:
            with self.asking():
                self.fs.invalidate_cache()
                return [
                    dict(e)
                    for e in self.fs.ls(path, detail=True)
                    if str(e["name"]).strip("/") != path.strip("/")
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def files(self, path: str) -> dict[str, File]:
        """Every file below a folder, by path; {} if it is not there."""
        try:
            with self.asking():
                self.fs.invalidate_cache()
                found = self.fs.find(path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {str(name): File(int(info["size"] or 0), _seconds(info)) for name, info in found.items()}

    def write(self, path: str, data: bytes) -> None:
        """Put a file, replacing what is there."""
        with self.asking():
            self._folder_for(path)
            self.fs.pipe_file(path, data)

    def create(self, path: str, data: bytes) -> bool:
        """Put a file unless there is one; False if there is. Where the file system cannot promise that, it replaces."""
        with self.asking():
            self._folder_for(path)
            for tries_left in reversed(range(5)):
                try:
                    self.fs.pipe_file(path, data, mode="create")
                except FileExistsError:
                    return False
                except (NotImplementedError, TypeError):
                    break
                except OSError as error:
                    if error_code(error) in ("NotImplemented", "InvalidArgument"):
                        break  # a server that speaks S3 but not its conditions
                    if error_code(error) != "ConditionalRequestConflict" or not tries_left:
                        raise
                    continue  # two at once: S3 asks to try again
                return True
            self.fs.pipe_file(path, data)
        return True

    def put(self, files: Mapping[Path, str]) -> None:
        """Upload files, several at once where the file system can."""
        with self.asking():
            for path in files.values():
                self._folder_for(path)
            if files:
                self.fs.put([str(local) for local in files], list(files.values()))

    def get(self, files: Mapping[str, Path]) -> None:
        """Download files, several at once where the file system can.

        Raises:
            FileNotFoundError: if one is not there.
        """
        with self.asking():
            for local in files.values():
                local.parent.mkdir(parents=True, exist_ok=True)
            if files:
                self.fs.get(list(files), [str(local) for local in files.values()])

    def remove_file(self, path: str) -> None:
        """Remove one file, by one request; none is fine."""
        try:
            with self.asking():
                self.fs.rm_file(path)
        except FileNotFoundError:
            return

    def remove(self, path: str) -> None:
        """Remove a file or a whole folder; none is fine."""
        try:
            with self.asking():
                if not self.is_local:
                    self.fs.invalidate_cache()
                    self.fs.rm(path, recursive=True)
                elif Path(path).is_dir() and not Path(path).is_symlink():
                    shutil.rmtree(path)
                else:
                    Path(path).unlink()
        except FileNotFoundError:
            return

    def _folder_for(self, path: str) -> None:
        if self.protocol not in OBJECTS:
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)

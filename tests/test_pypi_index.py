"""pip's settings and the index pages, read without any network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from weakstrong.errors import ConfigError, OfflineError, SourceError
from weakstrong.pypi_index import PipSettings, config_files, find_file, pip_settings, read_page, shown


def environ(tmp_path: Path, text: str, **variables: str) -> dict[str, str]:
    file = tmp_path / "pip.conf"
    file.write_text(text, encoding="utf-8")
    return {"PIP_CONFIG_FILE": str(file), **variables}


def test_a_variable_beats_the_configuration_file_and_a_section_beats_global(tmp_path: Path) -> None:
    """Bug: a user's override of the index is ignored and the wrong index is asked."""
    text = (
        "[download]\nindex-url = https://section/simple\n[global]\nindex_url = https://file/\ntimeout = 3\n"
    )
    assert pip_settings(environ(tmp_path, text)).index_url == "https://section/simple"
    settings = pip_settings(environ(tmp_path, text, PIP_INDEX_URL="https://variable/simple", PIP_CERT=""))
    assert (settings.index_url, settings.timeout_s) == ("https://variable/simple", 3.0)


def test_lists_are_split_and_certificates_fall_back_in_order(tmp_path: Path) -> None:
    """Bug: two extra indexes on two lines become one URL; pip's cert loses to a general variable."""
    text = (
        "[global]\nextra-index-url =\n  https://one/simple\n  https://two/simple\nno-index = true\ncert =\n"
    )
    settings = pip_settings(environ(tmp_path, text, SSL_CERT_FILE="/s.pem", REQUESTS_CA_BUNDLE="/r.pem"))
    assert settings.extra_index_urls == ("https://one/simple", "https://two/simple")
    assert (settings.no_index, settings.cert) == (True, "/r.pem")
    assert pip_settings(environ(tmp_path, text, PIP_CERT="/p.pem", SSL_CERT_FILE="/s.pem")).cert == "/p.pem"


def test_a_null_configuration_file_switches_all_files_off() -> None:
    """Bug: an isolated run still reads the machine's files."""
    assert config_files({"PIP_CONFIG_FILE": os.devnull}) == []


def test_a_broken_configuration_is_named_without_its_text(tmp_path: Path) -> None:
    """Bug: the parser's message prints the line with the password."""
    with pytest.raises(ConfigError, match=r"pip\.conf") as caught:
        pip_settings(environ(tmp_path, "index-url = https://me:hunter2@host/simple\n"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("password", ["hunter2", "hun@ter2"])
def test_credentials_are_in_neither_repr_nor_shown_url(password: str) -> None:
    """Bug: a settings object in a log or a traceback prints the password."""
    url = f"https://me:{password}@host/simple/?token={password}#{password}"
    assert shown(url) == "https://host/simple/"
    assert "ter2" not in repr(PipSettings(index_url=url, extra_index_urls=(url,), find_links=(url,)))


def test_page_links_are_relative_to_base_and_keep_credentials_on_their_own_host_only() -> None:
    """Bug: the index's password is sent to the host that serves the files."""
    page = '<base href="/files/"><a href="a-1.tar.gz#sha256=AB">x</a><a href="https://cdn/a-2.tar.gz">y</a>'
    own, other = read_page(page, "https://me:pw@host/simple/a/")
    assert (own.url.partition("#")[0], own.sha256) == ("https://me:pw@host/files/a-1.tar.gz", "ab")
    assert other.url == "https://cdn/a-2.tar.gz"


def test_a_server_cannot_point_at_local_files() -> None:
    """Bug: a hostile index makes us read a file of this machine."""
    text = json.dumps({"files": [{"url": "file:///etc/a-1.tar.gz", "filename": "a-1.tar.gz"}]})
    assert read_page(text, "https://host/simple/a/", is_json=True) == []


def folder_with(folder: Path, *names: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder.as_uri()


def test_a_pure_wheel_is_preferred_then_the_sdist(tmp_path: Path) -> None:
    """Bug: the file depends on the listing's order, or a platform wheel is taken."""
    names = [
        "my_data-1.0-cp311-cp311-win_amd64.whl",
        "my-data-1.0.tar.gz",
        "my_data-1.0-py2.py3-none-any.whl",
    ]
    settings = PipSettings(no_index=True, find_links=(folder_with(tmp_path / "a", *names),))
    assert find_file("My.Data", "1", settings).filename == names[2]
    settings = PipSettings(no_index=True, find_links=(folder_with(tmp_path / "b", *names[:2]),))
    assert find_file("my_data", "1.0", settings).filename == names[1]
    settings = PipSettings(no_index=True, find_links=(folder_with(tmp_path / "c", names[0]),))
    with pytest.raises(SourceError, match=r"only my_data-1\.0-cp311"):
        find_file("my_data", "1.0", settings)


def test_file_indexes_as_folders_and_as_pages(tmp_path: Path) -> None:
    """Bug: a mirror copied to disk is not read, or a name that is not normalised is missed."""
    plain = folder_with(tmp_path / "plain" / "My_Data", "my_data-1.0.zip")
    paged = tmp_path / "paged" / "my-data"
    folder_with(paged, "x")
    (paged / "index.html").write_text('<a href="../files/my_data-2.0.zip#sha256=00">2</a>', encoding="utf-8")
    settings = PipSettings(
        index_url=plain.removesuffix("/My_Data"), extra_index_urls=(str(tmp_path / "paged"),)
    )
    assert find_file("my-data", "1.0", settings).path == tmp_path / "plain" / "My_Data" / "my_data-1.0.zip"
    assert find_file("my-data", "2.0", settings).path == paged.parent / "files" / "my_data-2.0.zip"


def test_offline_reads_places_on_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: offline still asks the index, or ignores a folder that has the file."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was touched"))
    settings = PipSettings(find_links=(folder_with(tmp_path, "a-1.zip"),))
    assert find_file("a", "1", settings, offline=True).path == tmp_path / "a-1.zip"
    with pytest.raises(OfflineError, match="versions found: 1;"):
        find_file("a", "2", settings, offline=True)

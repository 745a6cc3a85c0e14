"""Where the review pages may be served, and to whom; and the command's sentences."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from jobs.errors import UsageError
from jobs.review.people import People
from jobs.review.serve import Serving, access_of, bound_socket, run
from tests.ports import free_port
from tests.review_site import Client


@pytest.fixture
def people(tmp_path: Path) -> People:
    """Nobody yet."""
    return People(tmp_path / "people.json")


def access(people: People, port: int = 8484, **told: Any) -> Any:
    """Return who may reach the pages of these options."""
    return access_of(Serving(port=port, **told), people, port=port, user="system-user")


def test_on_loopback_one_person_decides_who_is_the_system_s_user_by_default(people: People) -> None:
    alone = access(people)
    assert (alone.by, alone.people, alone.secure) == ("system-user", None, False)
    assert alone.hosts == {"127.0.0.1:8484", "localhost:8484"}
    assert alone.origins == {"http://127.0.0.1:8484", "http://localhost:8484"}
    assert access(people, by="ada").by == "ada"
    assert access(people, port=80).hosts == {"127.0.0.1", "localhost"}
    assert "[::1]:8484" in access(people, host="::1").hosts


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8484"),
        ("127.0.0.2", "http://127.0.0.2:8484"),
        ("localhost", "http://localhost:8484"),
        ("::1", "http://[::1]:8484"),
        ("[0:0:0:0:0:0:0:1]", "http://[::1]:8484"),
    ],
)
def test_the_address_that_is_printed_is_the_one_that_it_listens_on(people: People, host: str, address: str) -> None:
    alone = access(people, host=host)
    assert (alone.address, alone.by) == (address, "system-user")
    assert address.removeprefix("http://") in alone.hosts
    assert address in alone.origins


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ({"host": "2001:DB8::7"}, "https://[2001:db8::7]:8484"),
        ({"host": "192.0.2.7"}, "https://192.0.2.7:8484"),
        ({"host": "::", "names": ["2001:db8:0::8", "shop.example"]}, "https://[2001:db8::8]:8484"),
        ({"host": "0.0.0.0"}, f"https://{socket.gethostname().lower()}:8484"),
        ({"behind": "https://shop.example:443"}, "https://shop.example"),
        ({"behind": "https://[2001:db8::9]:444/"}, "https://[2001:db8::9]:444"),
    ],
)
def test_an_address_is_printed_as_browsers_write_it(people: People, told: dict[str, Any], address: str) -> None:
    people.add("maria", "several words together")
    tls = {} if "behind" in told else {"tls_cert": Path("c"), "tls_key": Path("k")}
    served = access(people, **(told | tls))
    assert served.address == address
    assert address.removeprefix("https://") in served.hosts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "shop.example"])
def test_another_address_without_encryption_is_refused(people: People, host: str) -> None:
    people.add("maria", "several words together")
    with pytest.raises(UsageError, match="give --tls-cert and --tls-key, or a proxy in front with --behind"):
        access(people, host=host)


def test_with_tls_named_people_are_needed(people: People, tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "host": "0.0.0.0",
        "tls_cert": tmp_path / "c",
        "tls_key": tmp_path / "k",
        "names": ["Shop.example"],
    }
    with pytest.raises(UsageError, match=r"nobody could log in: .*review people add"):
        access(people, **told)
    people.add("maria", "several words together")
    served = access(people, **told)
    assert (served.by, served.people, served.secure, served.hosts) == ("", people, True, {"shop.example:8484"})
    assert socket.gethostname().lower() + ":8484" in access(people, **(told | {"names": []})).hosts


def test_behind_a_proxy_its_public_address_is_ours(people: People, tmp_path: Path) -> None:
    people.add("maria", "several words together")
    served = access(people, behind="https://Review.shop.example")
    assert (served.by, served.secure, served.behind) == ("", True, True)
    assert (served.hosts, served.origins) == ({"review.shop.example"}, {"https://review.shop.example"})
    secret = tmp_path / "secret"
    secret.write_text("a secret of many characters\n", encoding="utf-8")
    secret.chmod(0o600)
    named = access(people, behind="https://shop.example:444", user_header="X-User", secret_file=secret)
    assert named.proxy.secret == "a secret of many characters"
    assert (named.named_by_proxy, named.people) == (True, None)
    elsewhere = access(people, behind="https://shop.example", host="0.0.0.0", secret_file=secret)
    assert (elsewhere.named_by_proxy, elsewhere.people, elsewhere.proxy.user_header) == (False, people, "")
    assert named.hosts == {"shop.example:444"}


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"tls_cert": Path("c")}, "belong together"),
        ({"behind": "http://shop.example"}, "is not the public address of a proxy"),
        ({"behind": "shop.example"}, "is not the public address of a proxy"),
        ({"behind": "https://u@shop.example"}, "is not the public address of a proxy"),
        ({"behind": "https://:secret@shop.example"}, "is not the public address of a proxy"),
        ({"behind": "https://shop.example:70000"}, "is not the public address of a proxy"),
        ({"behind": "https://shop.example/review"}, "is not the public address of a proxy"),
        ({"user_header": "X-User"}, "behind a proxy only"),
        ({"secret_file": Path("s")}, "is for a proxy in front"),
        ({"behind": "https://shop.example", "host": "0.0.0.0"}, "past the proxy: .*else give --secret-file"),
        ({"behind": "https://shop.example", "user_header": "X-User"}, "needs --secret-file"),
        ({"behind": "https://shop.example", "by": "ada"}, "--by is for the loopback interface"),
        ({"by": "a\nb"}, "cannot be a person's name"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_a_sentence(people: People, told: dict[str, Any], sentence: str) -> None:
    people.add("maria", "several words together")
    with pytest.raises(UsageError, match=sentence):
        access(people, **told)


@pytest.mark.parametrize(
    ("content", "mode", "sentence"), [("x" * 30, 0o644, "chmod 600"), ("short", 0o600, "at least 20")]
)
def test_a_secret_that_is_none_is_refused(
    people: People, tmp_path: Path, content: str, mode: int, sentence: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(content, encoding="utf-8")
    secret.chmod(mode)
    with pytest.raises(UsageError, match=sentence):
        access(people, behind="https://shop.example", user_header="X-User", secret_file=secret)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with bound_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is taken.*another --port"):
            bound_socket("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.7", "no such host.example"])
def test_an_address_of_another_machine_is_one_sentence(host: str) -> None:
    with pytest.raises(UsageError, match="give another --host"):
        bound_socket(host, 0)


def test_a_file_that_is_no_certificate_is_one_sentence(tmp_path: Path) -> None:
    wrong = tmp_path / "cert.pem"
    wrong.write_text("no certificate", encoding="utf-8")
    with (
        bound_socket("127.0.0.1", 0) as listening,
        pytest.raises(UsageError, match=r"cannot be used for TLS .*PEM files"),
    ):
        run(None, listening, serving=Serving(tls_cert=wrong, tls_key=wrong))


def shelfwise(*words: str, home: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    environment = {**os.environ, "SHELFWISE_HOME": str(home)}
    command = [sys.executable, "-m", "jobs.cli.main", *words]
    return subprocess.run(command, env=environment, input=typed, capture_output=True, text=True, timeout=60)


def certificate(directory: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1 that it signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    paths = directory / "review.crt", directory / "review.key"
    for path, content in zip(paths, (made.public_bytes(Encoding.PEM), secret), strict=True):
        path.write_bytes(content)
    return paths


@contextmanager
def serving(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `shelfwise review serve` until the block ends; yield its process and its first line."""
    environment = {**os.environ, "SHELFWISE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "jobs.cli.main", "review", "serve", *options]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server, server.stdout.readline()
        finally:
            server.kill()


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, "--port", str(port), "--by", "ada") as (server, line):
        [path] = re.findall(
            rf"^Open http://127\.0\.0\.1:{port}(/open\?token=\S+) \(it works once, within an hour\)", line
        )
        browser = Client(port)
        assert browser.get(path).status == 200
        assert "<bdi>ada</bdi>" in browser.get("/queue").text
        taken = shelfwise("review", "serve", "--port", str(port), home=tmp_path)
        assert (taken.returncode, taken.stdout) == (2, "")
        assert f"shelfwise: port {port} of 127.0.0.1 is taken" in taken.stderr
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=30)
        assert (server.returncode, said) == (0, "")


@pytest.mark.parametrize("host", ["::1", "127.0.0.2", "localhost"])
def test_the_printed_address_opens_the_pages(tmp_path: Path, host: str) -> None:
    try:
        bound_socket(host, 0).close()
    except UsageError as error:
        pytest.skip(f"this machine has no such address: {error}")
    with serving(tmp_path, "--host", host, "--port", str(free_port())) as (_, line):
        [address] = re.findall(r"^Open (\S+) ", line)
        with urlopen(address, timeout=30) as page:
            assert "Welcome" in page.read().decode()


def test_with_tls_people_log_in_over_https(people: People, tmp_path: Path) -> None:
    people.add("maria", "several words together")
    cert, key = certificate(tmp_path)
    port = free_port()
    options = ("--host", "0.0.0.0", "--name", "127.0.0.1", "--port", str(port), "--tls-cert", str(cert))
    with serving(tmp_path, *options, "--tls-key", str(key)) as (_, line):
        assert line == f"People reach the pages at https://127.0.0.1:{port}. Ctrl-C ends the server.\n"
        trusted = ssl.create_default_context(cafile=str(cert))
        link = http.client.HTTPSConnection("127.0.0.1", port, context=trusted, timeout=30)
        form = urlencode({"name": "maria", "password": "several words together"})
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://127.0.0.1:{port}"}
        link.request("POST", "/login", form, sent)
        answer = link.getresponse()
        answer.read()
        cookie = str(answer.getheader("set-cookie"))
        assert answer.status == 303
        assert cookie.startswith(f"__Host-shelfwise-{port}=")
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict; Secure")
        link.request("GET", "/queue", headers={"Cookie": cookie.partition(";")[0]})
        assert link.getresponse().status == 200
        link.close()


def test_people_are_kept_by_commands(tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = ("review", "people", "add", "maria", "--password-stdin")
    added = shelfwise(*words, home=home, typed="several words together\n")
    assert (added.returncode, added.stdout) == (0, "name: maria\nnew: True\n"), added.stderr
    assert (home / "people.json").stat().st_mode & 0o777 == 0o600
    assert "maria" in shelfwise("review", "people", "list", home=home).stdout
    short = shelfwise(*words, home=home, typed="short\n")
    assert (short.returncode, "expected 12 to 1000" in short.stderr) == (2, True)
    assert shelfwise("review", "people", "remove", "maria", "--json", home=home).returncode == 0
    assert '"people": []' in shelfwise("review", "people", "list", "--json", home=home).stdout

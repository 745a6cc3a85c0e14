"""The commands that serve the review pages, and that keep the people who may log in there."""

from __future__ import annotations

import getpass
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import output
from jobs.cli.options import database_of, json_option
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.review.people import People

_PEOPLE = "people.json"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8484, show_default=True, help="TCP port to listen on.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on. Any other than loopback needs TLS or a proxy, and named people.",
)
@click.option(
    "--by", default="", metavar="NAME", help="Who decides, on the loopback interface; by default the system's user."
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="Host name by which people reach the pages; by default this machine's. Repeatable.",
)
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Certificate, PEM.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its key, PEM.")
@click.option(
    "--behind",
    default="",
    metavar="URL",
    help="Public address of a proxy in front, which does HTTPS: https://review.shop.example.",
)
@click.option(
    "--user-header",
    default="",
    metavar="NAME",
    help="Header in which the proxy names the person who is logged in there.",
)
@click.option(
    "--secret-header",
    default="X-Shelfwise-Secret",
    show_default=True,
    metavar="NAME",
    help="Header in which the proxy sends the shared secret, beside which its other headers are believed.",
)
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the shared secret, for its owner alone; needed if the proxy is on another machine.",
)
def serve(**options: Any) -> None:
    """Serve pages on which people review answers in a browser, until Ctrl-C.

    On this machine's loopback interface it prints an address that works once, within an hour. From other machines
    people log in, by HTTPS; see `shelfwise review people`.

    \b
    Example:
      shelfwise review serve
      shelfwise review serve --host 0.0.0.0 --tls-cert review.crt --tls-key review.key --name review.shop.example
    """
    from jobs.releases.records import decider
    from jobs.review.application import ReviewConfig, make_application
    from jobs.review.pictures import Pictures
    from jobs.review.serve import Serving, access_of, bound_socket, run

    settings = Settings()
    serving = Serving(**options)
    access = access_of(serving, _people(settings), port=serving.port, user=_user())
    database = database_of(settings, keep_connections=True)
    with bound_socket(serving.host, serving.port) as listening, closing(Pictures(settings.places)) as pictures:
        application = make_application(
            ReviewConfig(
                database=database,
                pictures=pictures,
                combine_by=decider,
                access=access,
                reports=settings.places.local_home / "reports",
                announce=lambda address: click.echo(
                    f"Open {address} (it works once, within an hour). Ctrl-C ends the server."
                ),
            )
        )
        if not serving.alone:
            click.echo(f"People reach the pages at {access.address}. Ctrl-C ends the server.")
        run(application, listening, serving=serving)


@click.group()
def people() -> None:
    """Keep the people who may log in to the review pages from other machines.

    \b
    Example:
      shelfwise review people add maria
      shelfwise review people list
    """


@people.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin, one line, instead of asking.")
@json_option
def add(name: str, password_stdin: bool, as_json: bool) -> None:
    """Add the person NAME, or give one a new password.

    \b
    Example:
      shelfwise review people add maria
    """
    from jobs.review.people import checked_name

    name = checked_name(name)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    new = _people(Settings()).add(name, password)
    output.summary({"name": name, "new": new}, as_json)


@people.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """List the people who may log in.

    \b
    Example:
      shelfwise review people list
    """
    known = _people(Settings()).all()
    if as_json:
        output.summary(
            {"people": [{"name": one.name, "added_at_utc": one.added_at_utc.isoformat()} for one in known]}, True
        )
        return
    output.table(("name", "added (UTC)"), [(one.name, f"{one.added_at_utc:%Y-%m-%d %H:%M}") for one in known])


@people.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove the person NAME, who is logged out at once; decisions in that name stay.

    \b
    Example:
      shelfwise review people remove maria
    """
    _people(Settings()).remove(name)
    output.summary({"name": name, "removed": True}, as_json)


def _people(settings: Settings) -> People:
    from jobs.review.people import People

    return People(settings.places.local_home / _PEOPLE)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"

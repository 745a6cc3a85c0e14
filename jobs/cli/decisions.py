"""The commands by which people decide on products, and allow pictures that hold answers back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli import output
from jobs.cli.options import database_of, json_option
from jobs.cli.person_options import by_option, refused_values_explained, why_option
from jobs.errors import UsageError
from jobs.releases.records import decider
from jobs.settings import Settings

if TYPE_CHECKING:
    from sql.decided import Recorded


@click.group()
def override() -> None:
    """Set a product's category by hand. No run or backfill replaces a person's category.

    \b
    Example:
      shelfwise override set article-00007 apparel.tops.shirt --by ada --why "it has a collar"
    """


@override.command(name="set")
@click.argument("product_id")
@click.argument("category_id")
@by_option
@why_option
@json_option
def set_(product_id: str, category_id: str, decided_by: str, why: str | None, as_json: bool) -> None:
    """Set the category of a product by hand, in the name of the person --by.

    \b
    Example:
      shelfwise override set article-00007 apparel.tops.shirt --by ada
    """
    from sql.overrides import Override, set_overrides

    decision = Override(product_id, category_id, why)
    with refused_values_explained():
        changed = set_overrides(database_of(Settings()), [decision], decided_by=decided_by)
    output.summary({"product_id": product_id, "category_id": category_id, "changed": changed}, as_json)


@override.command()
@click.argument("product_ids", nargs=-1)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A .csv or .jsonl file with product_id, or a database that was imported: clear the decisions on its products.",
)
@by_option
@why_option
@json_option
def clear(product_ids: tuple[str, ...], file: Path | None, decided_by: str, why: str | None, as_json: bool) -> None:
    """Remove the categories that people gave to PRODUCT_IDS, of all or of none.

    Their answers are again the newest predictions. With --file an import can be taken back.

    \b
    Example:
      shelfwise override clear article-00007 --by ada --why "the photograph was replaced"
      shelfwise override clear --file decisions.csv --by ada --why "imported by mistake"
    """
    from jobs.cli.decisions_file import read_products
    from sql.overrides import clear_overrides

    if bool(product_ids) == (file is not None):
        raise UsageError("give the PRODUCT_IDS to clear, or a file of them with --file")
    with refused_values_explained():
        names = read_products(file) if file else list(dict.fromkeys(product_ids))
        predicted = clear_overrides(database_of(Settings()), names, decided_by=decided_by, combine_by=decider, why=why)
    if len(names) == 1:
        output.summary({"product_id": names[0], "has_prediction": bool(predicted)}, as_json)
        return
    output.summary({"cleared": len(names), "with_prediction": predicted}, as_json)


@override.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--by", "decided_by", metavar="NAME", help="Who decides; needed for a .csv or .jsonl file.")
@json_option
def import_(file: Path, decided_by: str | None, as_json: bool) -> None:
    """Import decisions from a .csv or .jsonl FILE with product_id, category_id and, optionally, why. All or none.

    FILE may be what `shelfwise query review_queue --format csv` wrote, with a column category_id that you added and
    filled where you decided. It may also be an SQLite database of another version of shelfwise: its decisions keep who
    decided and when. `shelfwise override clear --file FILE` takes an import back.

    \b
    Example:
      shelfwise override import decisions.csv --by ada
      shelfwise override import shelfwise-set-aside-20261101T023000Z.db
    """
    from jobs.cli.decisions_file import read_decisions
    from sql.overrides import record_overrides

    with refused_values_explained():
        decisions = read_decisions(file, decided_by)
        done = record_overrides(database_of(Settings()), decisions, came_by="import")
    if done.replaced:
        output.message(replaced_sentence(done))
    counts = {name: getattr(done, name) for name in ("changed", "agreed", "replaced", "replaced_newer")}
    output.summary({"file": str(file), "decisions": len(decisions), **counts}, as_json)


def replaced_sentence(done: Recorded) -> str:
    """Return the sentence on the decisions of people that an import replaced: how many, and the first few."""
    named = ", ".join(
        f"{product_id!r} ({category or 'no category'}{f' by {person}' if person else ''}{', later' if newer else ''})"
        for product_id, category, person, newer in done.examples
    )
    more = f" and {done.replaced - len(done.examples)} more" if done.replaced > len(done.examples) else ""
    later = f", {done.replaced_newer} of them later than the imported ones" if done.replaced_newer else ""
    return f"decisions of people that this import replaced: {done.replaced}{later}: {named}{more}"


@click.group()
def review() -> None:
    """Work through the queue of answers to review, and through the pictures that hold answers back.

    \b
    Example:
      shelfwise review serve
      shelfwise query review_queue --limit 20
      shelfwise review accept article-00007 --by ada
    """


@review.command()
@click.argument("product_ids", nargs=-1, required=True)
@by_option
@why_option
@json_option
def accept(product_ids: tuple[str, ...], decided_by: str, why: str | None, as_json: bool) -> None:
    """Accept the predicted categories of these PRODUCT_IDS as answers of the person --by.

    \b
    Example:
      shelfwise review accept article-00007 article-00011 --by ada
    """
    from sql.overrides import accept_suggestions

    with refused_values_explained():
        changed = accept_suggestions(database_of(Settings()), product_ids, decided_by=decided_by, why=why)
    output.summary({"accepted": len(product_ids), "changed": changed}, as_json)


@review.command(name="allow-picture")
@click.argument("image_sha256", metavar="SHA256")
@by_option
@why_option
@json_option
def allow_picture(image_sha256: str, decided_by: str, why: str | None, as_json: bool) -> None:
    """Allow a picture that different products share, by its SHA256: from now on it holds no answer back.

    Its products are answered again by what remains. `shelfwise query shared_pictures` lists such pictures.

    \b
    Example:
      shelfwise review allow-picture 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae --by ada
    """
    from sql.pictures import allow_picture as allow

    with refused_values_explained():
        changed = allow(database_of(Settings()), image_sha256, by=decided_by, combine_by=decider, why=why)
    output.summary({"image_sha256": image_sha256, "changed": changed}, as_json)

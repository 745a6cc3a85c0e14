"""Tables of releases: what each answers with, and which one is champion or challenger."""

from __future__ import annotations

import sqlalchemy as sa

from sql.schema.columns import UtcDateTime, key_text, metadata, one_of

ALIASES = ("champion", "challenger")

categories = sa.Table(
    "categories",
    metadata,
    sa.Column(
        "category_id",
        key_text(),
        primary_key=True,
        comment="Of a leaf, apparel.tops.t-shirt, or of an inner node, apparel.tops",
    ),
    sa.Column(
        "category_path",
        sa.Text,
        nullable=False,
        comment="What people read: Apparel > Tops > T-shirt",
    ),
    sa.Column(
        "taxonomy_version",
        sa.Text,
        nullable=False,
        comment="Version of the list that last named it",
    ),
    comment="The taxonomy, one row a leaf or inner node; inner nodes are suggestions only",
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column(
        "release_id",
        key_text(),
        primary_key=True,
        comment="Name of the release's directory",
    ),
    sa.Column(
        "taxonomy_version",
        sa.Text,
        nullable=False,
        comment="The list of categories it answers with",
    ),
    sa.Column("manifest", sa.JSON, nullable=False, comment="Its release.json"),
    sa.Column(
        "registered_at_utc",
        UtcDateTime,
        nullable=False,
        comment="When this database first saw it",
    ),
    sa.Column(
        "promoted_at_utc",
        UtcDateTime,
        comment="When it last became champion; empty for one that never was",
    ),
    comment="Every release that published here. Of two answers on equally new images the later promoted release's "
    "stands, then the later registered one's",
)

release_aliases = sa.Table(
    "release_aliases",
    metadata,
    sa.Column(
        "change_id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
        comment="In order of change",
    ),
    sa.Column("alias", sa.Text, nullable=False, comment="champion (answers) or challenger (is tried in the shadow)"),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        comment="The release from then on; empty where the alias was taken away",
    ),
    sa.Column("changed_at_utc", UtcDateTime, nullable=False, comment="When"),
    sa.Column("changed_by", sa.Text, nullable=False, comment="Who promoted or rolled back"),
    one_of("alias", ALIASES, "alias_listed"),
    comment="Which release was champion and challenger, one row a change; the last row of an alias holds. A change to "
    "the champion just before is a rollback, with an empty row between the two a promotion",
)

"""Tables of releases: the taxonomy, the registered releases, and which one is champion or challenger."""

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
        comment="Identifier of a leaf, apparel.tops.t-shirt, or of an inner node, apparel.tops",
    ),
    sa.Column(
        "category_path",
        sa.Text,
        nullable=False,
        comment="Name for people: Apparel > Tops > T-shirt",
    ),
    sa.Column(
        "taxonomy_version",
        sa.Text,
        nullable=False,
        comment="Version of the taxonomy that last contained it",
    ),
    comment="The taxonomy, one row per leaf or inner node; inner nodes are suggestions only",
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
        comment="Version of the taxonomy that it answers with",
    ),
    sa.Column("manifest", sa.JSON, nullable=False, comment="Content of its release.json"),
    sa.Column(
        "registered_at_utc",
        UtcDateTime,
        nullable=False,
        comment="When this database registered it",
    ),
    sa.Column(
        "promoted_at_utc",
        UtcDateTime,
        comment="When it last became champion; empty if it never was",
    ),
    comment="Every release that published here. For equally new images the answer of the release promoted last "
    "wins, then of the release that was registered last",
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
    sa.Column(
        "alias",
        sa.Text,
        nullable=False,
        comment="champion (its answers are published) or challenger (its answers are only compared)",
    ),
    sa.Column(
        "release_id",
        key_text(),
        sa.ForeignKey("releases.release_id"),
        comment="The release that has the alias from then on; empty if the alias was taken away",
    ),
    sa.Column("changed_at_utc", UtcDateTime, nullable=False, comment="When the alias changed"),
    sa.Column("changed_by", sa.Text, nullable=False, comment="Person who promoted or rolled back"),
    one_of("alias", ALIASES, "alias_listed"),
    comment="History of the aliases, one row per change; the last row of an alias is current. A change to the "
    "previous champion is a rollback; with an empty row before it, it is a promotion",
)

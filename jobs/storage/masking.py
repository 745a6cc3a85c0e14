"""Mask the secrets of links: user names with passwords, and signatures and tokens in queries.

A link is copied into datasets, tables, messages and logs, where a secret must not be. `***` stands for each secret.
Where it is not certain what a link means, too much is masked rather than too little.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

MASK = "***"
_AT = re.compile(r"@|%(?:25)*40|[\uff20\ufe6b]", re.IGNORECASE)
_COLON = re.compile(r":|%(?:25)*3a|[\uff1a\ufe55]", re.IGNORECASE)
_START = re.compile(
    r"""(?<![a-z0-9+.-])(?:(?P<web>https?|ftps?)[:;]?[\\/]{2,}|(?P<colon>https?|ftps?):[\\/]?
    |(?P<scheme>[a-z][a-z0-9+.-]{1,30}):(?P<slashes>[\\/]{2,}))
    |(?:^|(?<=[\s"'<(=,;]))[\\/]{2}(?![\\/])""",
    re.IGNORECASE | re.VERBOSE,
)
"""Matches what stands in front of a host, or of user info, however it is written."""
_BARE = re.compile(r"(?:^|(?<=\s))[^\\/\s:@]{2,}:\S*@(?=[^\\/\s@]*\.)[^\\/\s@]*[\\/]")
"""Matches user info and a host without a scheme: `ada:secret@shop.example/a.jpg`."""
_HOST_AND_PORT = re.compile(r"(?:(?=[^:]*\.)[^:]*|localhost|\[[0-9a-f:.]*\]):\d{0,5}", re.IGNORECASE)
_QUERY = re.compile(r"[?#]|%(?:25)*3f", re.IGNORECASE)
_NAME = re.compile(
    r"(?:[?&;#]|(?P<encoded>%(?:25)*(?:3f|26|23)))(?=(?P<name>[\w.\[\] +%-]{1,200}?)(?P<equals>=|%(?:25)*3d))",
    re.IGNORECASE,
)
"""Matches before a name in a query. The link of a proxy has the link of another server in its own, percent-encoded."""
_AMPERSAND = re.compile("&")
_END = re.compile(r"&|%(?:25)*26", re.IGNORECASE)
_SESSION = re.compile(r"(;jsessionid=)[^/;?#]*", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_STORES = ("s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "az", "hdfs")

# Names of secret values: in lower case, with their letters and digits alone. The vendors' documentation of signed links
# has those of Amazon S3 (Signature Version 4, then 2) and CloudFront, Google Cloud Storage, Azure (shared access
# signatures), Alibaba OSS, Tencent COS, and Akamai. BunnyCDN, Qiniu, Fastly and many shops call theirs `token`.
_SIGNATURE_NAMES = """
xamzsignature xamzcredential xamzsecuritytoken awsaccesskeyid signature policy keypairid
xgoogsignature xgoogcredential xgoogsecuritytoken googleaccessid
sig xosssignature xosscredential xosssecuritytoken ossaccesskeyid qsignature qak xcossecuritytoken
hdnea hdnts hdntl gda token bcdntoken sign hmac
"""
_OTHER_NAMES = """
accesstoken authtoken securitytoken sessiontoken refreshtoken idtoken usertoken apitoken bearer jwt
auth authorization authkey authsig apikey xapikey accesskey accesskeyid secretkey secretaccesskey
subscriptionkey ocpapimsubscriptionkey key password passwd passwort pwd pass secret clientsecret apisecret
credential credentials session sessionid jsessionid phpsessid
"""
_EXPIRY_NAMES = """
xamzdate xamzexpires xgoogdate xgoogexpires xossdate xossexpires qsigntime qkeytime
expires expire expiry expiration expiresin exp e ex st se skt ske skoid sktid
starttime endtime validfrom validto ttl timestamp ts nonce
"""
_SIGNATURES = frozenset(_SIGNATURE_NAMES.split())
_SECRETS = _SIGNATURES | frozenset(_OTHER_NAMES.split())
_EXPIRIES = frozenset(_EXPIRY_NAMES.split())
"""Names of values that each new signature changes. Elsewhere they may mean something else, such as `st=blue`; so they
are masked in a link that has a signature or token."""


def mask_secrets(link: str) -> str:
    """Return a link, path or text around a link with `***` in place of its secrets.

    The keys of S3 and of other stores may hold `?` and have no queries, so their links have only user info masked.
    """
    masked = mask_user_info(link)
    start = _START.search(masked)
    return masked if start and (start["scheme"] or "").lower() in _STORES else _mask_query(masked)


def mask_user_info(link: str) -> str:
    """Return a link with `***` in place of the user name and password of each URL in it.

    A password may hold characters that it should not, such as a slash: `https://ada:pass/word@shop.example/a.jpg`. An @
    in a path, as in `https://shop.example/shoe@2x.jpg`, is none of user info.
    """
    if not _AT.search(link):
        return link
    done, position = [], 0
    start = _START.search(link)
    if start is None and (bare := _BARE.search(link)):
        return link[: bare.start()] + MASK + "@" + link[_last_at(link) :]
    while start:
        end = _end_of_user_info(link[start.end() :], start)
        done.append(link[position : start.end()])
        position = start.end()
        if end:
            done.append(MASK + "@")
            position += end
        start = _START.search(link, position)
    return "".join(done) + link[position:]


def _end_of_user_info(rest: str, start: re.Match[str]) -> int:
    """Return the number of characters of the user info, with its @, that follows the start of a URL; 0 for none."""
    authority = re.split(r"[\\/?#]", rest, maxsplit=1)[0]
    colon = _COLON.search(authority.rpartition("]")[2] if authority.startswith("[") else authority)
    in_authority, last = _last_at(authority), _last_at(rest)
    scheme = (start["scheme"] or "").lower()
    if scheme == "file" and len(start["slashes"]) > 2:
        return 0
    if scheme:
        # The name before the @ of abfs:// and hdfs:// is no secret. A bucket may be named by arn:aws:s3:...
        if not colon or authority.lower().startswith("arn:"):
            return 0
        if in_authority:
            return last if _COLON.search(authority[:in_authority]) else 0
        return 0 if scheme == "hdfs" and re.fullmatch(r"[^:]*:\d{0,5}", authority) else last
    if in_authority:
        return last if _COLON.search(authority[:in_authority]) else in_authority
    if not colon or not last:
        return 0
    folders = rest.partition("?")[0].partition("#")[0].rpartition("/")[0]
    if _HOST_AND_PORT.fullmatch(authority) and not _last_at(folders):
        return 0
    return last


def _last_at(text: str) -> int:
    """Return the position after the last @ of a text; 0 if it has none."""
    return max((match.end() for match in _AT.finditer(text)), default=0)


def _mask_query(link: str) -> str:
    """Return a link with `***` in place of the secrets of its query and fragment."""
    link = _SESSION.sub(rf"\g<1>{MASK}", link)
    query = _QUERY.search(link)
    if query is None:
        return link
    names = [(match, _plain(match["name"])) for match in _NAME.finditer(link, query.start())]
    masked = _SECRETS | _EXPIRIES if _SIGNATURES & {name for _, name in names} else _SECRETS
    done, position = [], 0
    for match, name in names:
        if match.start() >= position and name in masked:
            value = match.end("equals")
            done += [link[position:value], MASK]
            # A value should not hold `;`, `?` or `#`. If it does, what follows belongs to the secret.
            end = (_END if match["encoded"] else _AMPERSAND).search(link, value)
            position = end.start() if end else len(link)
    return "".join(done) + link[position:]


def _plain(name: str) -> str:
    return _NOT_IN_NAMES.sub("", unquote(name).lower())
